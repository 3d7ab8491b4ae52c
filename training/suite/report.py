"""What a suite shows: its arms side by side, recomputed from what was sampled, graded and judged."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db.models import Max

from grading import alignment, recovery
from grading.alignment import Estimate
from training.models import Experiment, Measurement, Suite
from training.suite import plan
from training.suite.plan import Arm, Planned
from training.suite.runs import CHECKED, REWARDED, TAUGHT, Run, Sample, expert_of, run_of

Report = dict[str, Any]
ALONG_THE_WAY = 400  # replicates for the many points of the curves; what stands in the table has the full number


def report(suite: Suite) -> Report:
    """JSON-able: the suite, its arms in order, what is not done yet. Values have 95% intervals over prompts, rollouts and seeds."""
    rows = {e.name: e for e in suite.experiments.order_by("id").prefetch_related("step_metrics")}
    wanted = plan.planned(suite)
    runs = {one.name: run for one in wanted if (row := rows.get(one.name)) is not None and (run := run_of(row)) is not None}
    ceilings = [runs[one.name] for one in wanted if one.arm.name == suite.config["ceiling"] and one.name in runs]
    return {
        "suite": suite.name,
        "title": suite.title,
        "domain": suite.domain.slug,
        "expert": suite.expert.alias,
        "seeds": suite.config["seeds"],
        "bases": suite.config["bases"],
        "ceiling": suite.config["ceiling"],
        "command": f"manage.py sandwich {suite.name}",
        "arms": [_arm(suite, arm, [one for one in wanted if one.arm == arm], runs, ceilings) for arm in plan.arms(suite)],
        "not_done": [_left(one, rows.get(one.name)) for one in wanted if one.name not in runs],
    }


def cached(suite: Suite) -> Report:
    """`report`, computed again only where something was measured or has ended since."""
    newest = Measurement.objects.filter(experiment__suite=suite).aggregate(newest=Max("id"))["newest"]
    states = "".join(f"{name} {state} " for name, state in suite.experiments.order_by("id").values_list("name", "state"))
    key = f"suite-{suite.pk}-{newest}-{hashlib.sha256(states.encode()).hexdigest()[:16]}"
    found: Report | None = cache.get(key)
    if found is None:
        found = report(suite)
        cache.set(key, found, 24 * 3600)
    return found


def _left(one: Planned, row: Experiment | None) -> Report:
    return {"name": one.name, "arm": one.arm.name, "state": row.state if row else "", "note": row.note if row else ""}


def _arm(suite: Suite, arm: Arm, wanted: list[Planned], runs: dict[str, Run], ceilings: list[Run]) -> Report:
    mine = [runs[one.name] for one in wanted if one.name in runs]
    found = {**_described(arm, wanted), "runs": len(mine), "measured": bool(mine)}
    if not mine:
        return found
    own = arm.name == suite.config["ceiling"]
    tops = [] if own else [run for run in ceilings if run.base in {one.base for one in mine}]
    # Measured again when one of its runs, or of the ceiling's, has ended.
    key = f"suite-arm-{suite.pk}-{arm.name}-" + hashlib.sha256(repr([run.pk for run in mine + tops]).encode()).hexdigest()[:16]
    measured: Report | None = cache.get(key)
    if measured is None:
        measured = _measured(mine, tops)
        cache.set(key, measured, 24 * 3600)
    return found | measured


def _described(arm: Arm, wanted: list[Planned]) -> Report:
    return {
        "name": arm.name,
        "title": arm.title,
        "protocol": arm.plan["protocol"],
        "preset": arm.preset,
        "plan": arm.plan,
        "planned": len(wanted),
        "commands": [_command(one) for one in wanted if not arm.after],  # a proxy of another experiment is the suite's to hand on
    }


def _command(one: Planned) -> str:
    """How to run the same experiment alone."""
    path = Path(one.base.path)
    policy = str(path.relative_to(settings.BASE_DIR)) if path.is_relative_to(settings.BASE_DIR) else str(path)
    words = ["manage.py", "run_experiment", one.name]
    words += ["--preset", one.arm.preset] if one.arm.preset else []
    words += [word for key, value in sorted(one.arm.changes.items()) for word in ("--set", f"{key}={value}")]
    return shlex.join([*words, "--policy", policy, "--seed", str(one.seed)])


def _measured(mine: list[Run], tops: list[Run]) -> Report:
    """What there is of an arm's runs. `tops` are the ceiling runs that they are measured against; none for the ceiling itself."""
    final, base = _finals(mine), _bases(mine)
    strata = [run.base for run in mine]
    return {
        "steps": fmean(run.steps for run in mine),
        "expert_reward": {
            "base": asdict(recovery.reward_over_runs(base, strata=strata)),
            "final": asdict(recovery.reward_over_runs(final, strata=strata)),
        },
        **_recovered(mine, tops),
        "samples": _samples(mine),
        "alignment": {"before_rl": _json(_alignment(mine, "first")), "end": _json(_alignment(mine, "last"))},
        "unscored": _unscored(mine),
        "minutes": _mean([run.minutes for run in mine]),
        "points": [_point(run, tops) for run in mine],
        "curve": list(_curve(mine)),
        "gains": [gain for run in mine for gain in _gains(run)],
    }


def _recovered(mine: list[Run], tops: list[Run]) -> Report:
    """PGR and data efficiency. On one base all ceiling runs count; on several each run goes with the ceiling of its base and seed."""
    strata: list[str] | None = None
    if len({run.base for run in mine}) > 1:
        pairs = [(run, top) for run in mine for top in tops if (top.base, top.seed) == (run.base, run.seed)]
        mine, tops = [run for run, _ in pairs], [top for _, top in pairs]
        strata = [run.base for run in mine]
    if not mine or not tops:
        return {"pgr": None, "efficiency": None}
    pgr = recovery.pgr_over_runs(_finals(mine), _bases(mine), _finals(tops), strata=strata)
    samples = [run.training_samples for run in mine]
    curves = [[(look.samples, expert_of(look)) for look in top.looks[: top.stands + 1]] for top in tops]
    efficiency = asdict(recovery.efficiency(samples, _finals(mine), curves, strata=strata)) if sum(samples) else None
    return {"pgr": asdict(pgr), "efficiency": efficiency}


def _finals(runs: list[Run]) -> list[Sample]:
    return [expert_of(run.looks[run.stands]) for run in runs]


def _bases(runs: list[Run]) -> list[Sample]:
    return [expert_of(run.looks[0]) for run in runs]


def _samples(mine: list[Run]) -> Report:
    """Expert samples of one run on average: those that taught, checked or rewarded, their sum, and all by purpose."""
    parts = {"taught": TAUGHT, "checked": CHECKED, "rewarded": REWARDED}
    purposes = sorted({purpose for run in mine for purpose in run.samples})
    return {
        **{name: fmean(run.of_purposes(which) for run in mine) for name, which in parts.items()},
        "total": fmean(run.training_samples for run in mine),
        "by_purpose": {purpose: fmean(run.of_purposes((purpose,)) for run in mine) for purpose in purposes},
    }


def _alignment(mine: list[Run], when: str) -> Estimate | None:
    """Of all runs together: of the proxy that rewards the first RL step, or of the one that had rewarded up to the last look."""
    looks = [(run, run.looks[0].after or run.looks[0].before if when == "first" else run.looks[-1].before) for run in mine]
    return _pooled([(run.name, look) for run, look in looks], alignment.alignment)


def _pooled(looks: Sequence[tuple[str, Any]], measure: Any, **options: Any) -> Estimate | None:
    """`measure` over the looks of several runs: a group is one prompt in one run. None where no proxy graded anything."""
    expert = [score for _, look in looks for score in look.expert]
    proxy = [score for _, look in looks for score in look.proxy]
    groups = [(name, prompt) for name, look in looks for prompt in look.prompts]
    if all(score is None for score in proxy):
        return None
    found: Estimate = measure(expert, proxy, groups, **options)
    return found


def _unscored(mine: list[Run]) -> float | None:
    total = sum(run.unscored[1] for run in mine)
    return sum(run.unscored[0] for run in mine) / total if total else None


def _point(run: Run, tops: list[Run]) -> Report:
    """One run alone; its PGR is by means only, against all ceiling runs from its base."""
    reward, base = (_reward(run, at) for at in (run.stands, 0))
    top = _mean([_reward(other, other.stands) for other in tops if other.base == run.base])
    known = reward is not None and base is not None and top is not None and top > base
    return {
        "experiment": run.name,
        "base": run.base,
        "seed": run.seed,
        "step": run.looks[run.stands].step,
        "samples": run.training_samples,
        "expert_reward": reward,
        "pgr": (reward - base) / (top - base) if known else None,  # type: ignore[operator]
        "minutes": run.minutes,
    }


def _reward(run: Run, at: int) -> float | None:
    return _mean(run.looks[at].before.expert)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _curve(mine: list[Run]) -> Iterator[Report]:
    """The arm at each step at which its runs were looked at, all of them that were."""
    for step in sorted({look.step for run in mine for look in run.looks}):
        here = [(run.name, look) for run in mine for look in run.looks if look.step == step]
        before = [(name, look.before) for name, look in here]
        after = [(name, look.after) for name, look in here if look.after is not None]
        graded = any(score is not None for _, look in before for score in look.proxy)
        options: dict[str, Any] = {"replicates": ALONG_THE_WAY}
        yield {
            "step": step,
            "runs": len(here),
            "expert": asdict(recovery.reward_over_runs([expert_of(look) for _, look in here], **options)),
            "proxy": asdict(recovery.reward_over_runs([(look.proxy, list(look.prompts)) for _, look in before], **options)) if graded else None,
            "alignment": _json(_pooled(before, alignment.alignment, **options)),
            "alignment_after": _json(_pooled(after, alignment.alignment, **options)) if after else None,
            "realigned": sum(look.realigned is not None for _, look in here),
        }


def _gains(run: Run) -> Iterator[Report]:
    """From look to look: what the proxy promised there (grading.alignment.predicted_gain, scaled), and what came of it in expert reward."""
    for look, following in zip(run.looks, run.looks[1:], strict=False):
        promised = _pooled([(run.name, look.after or look.before)], alignment.predicted_gain, scale=True, replicates=1)
        before, then = _mean(look.before.expert), _mean(following.before.expert)
        if promised is not None and promised.value is not None and before is not None and then is not None:
            yield {"experiment": run.name, "step": look.step, "until": following.step, "predicted": promised.value, "actual": then - before}


def _json(estimate: Estimate | None) -> Report | None:
    return None if estimate is None else asdict(estimate)
