"""Results of experiments, recomputed from what was sampled, graded and judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from grading import recovery
from grading.alignment import Estimate, Sample
from training import budget, lineage, measures
from training.history import History, Seen, eval_batches
from training.models import Experiment

Report = dict[str, Any]
LEAST_PGR, LEAST_EFFICIENCY = 0.6, 5.0


def report(experiments: Iterable[Experiment]) -> Report:
    """JSON-able: one entry per experiment, in the order given. PGR is against the ceiling among them, else the latest one of the domain."""
    found = [History.of(experiment) for experiment in experiments]
    return {"experiments": [_entry(history, _ceiling(history, found)) for history in found]}


def loop_closed(results: Report) -> list[str]:
    """What the three kinds of experiment should show and do not, in words; empty when the loop is closed."""
    by_protocol = {name: [e for e in results["experiments"] if e["protocol"] == name] for name in ("ceiling", "weak-proxy", "full-trace")}
    unmet = [f"There is no {name} experiment." for name, entries in by_protocol.items() if not entries]
    unmet += [f"{e['name']} is {e['state']}: {e['note']}" for e in results["experiments"] if e["state"] != "done"]
    for entry in by_protocol["weak-proxy"]:
        unmet += _unmet_by_weak_proxy(entry)
    for entry in by_protocol["full-trace"]:
        unmet += _unmet_by_distillation(entry)
    return unmet


def _unmet_by_weak_proxy(entry: Report) -> list[str]:
    proxy, expert = (_change(entry[key]) for key in ("proxy_reward", "expert_reward"))
    if proxy is None or expert is None:
        return [f"{entry['name']}: its rewards were not measured at the beginning and the end."]
    unmet = [] if proxy > 0 else [f"{entry['name']}: the weak proxy's reward did not rise ({proxy:+.1f})."]
    return unmet if expert < 0 else [*unmet, f"{entry['name']}: expert reward did not fall under the weak proxy ({expert:+.1f})."]


def _unmet_by_distillation(entry: Report) -> list[str]:
    pgr, ratio, unmet = entry["pgr"]["value"] if entry["pgr"] else None, entry["efficiency"], []
    if pgr is None or pgr < LEAST_PGR:
        unmet.append(f"{entry['name']}: PGR is {'not defined' if pgr is None else f'{pgr:.0%}'}, and at least {LEAST_PGR:.0%} was expected.")
    if ratio is None or ratio["ratio"] is None or ratio["ratio"] < LEAST_EFFICIENCY:
        unmet.append(f"{entry['name']}: it did not get by with {LEAST_EFFICIENCY:g} times fewer expert samples than the ceiling.")
    both = [(r["before"]["value"], r["after"]["value"]) for r in entry["realignments"] if r["before"] and r["after"]]
    known = [(before, after) for before, after in both if before is not None and after is not None]
    if not known or sum(after - before for before, after in known) <= 0:
        unmet.append(f"{entry['name']}: realigning did not raise the proxy's alignment.")
    return unmet


def _change(pair: dict[str, Any]) -> float | None:
    first, last = pair["base"], pair["final"]
    return None if not first or not last or first["value"] is None or last["value"] is None else last["value"] - first["value"]


def _ceiling(history: History, found: Sequence[History]) -> History | None:
    mine = history.experiment
    if history.plan.protocol == "ceiling":
        return None
    for other in found:
        if other.plan.protocol == "ceiling" and other.experiment.domain_id == mine.domain_id:
            return other
    done = Experiment.objects.filter(domain=mine.domain, config__plan__protocol="ceiling", state=Experiment.State.DONE)
    latest = done.order_by("-ended").first()
    return History.of(latest) if latest else None


def _entry(history: History, ceiling: History | None) -> Report:
    experiment, samples = history.experiment, budget.spent(history.experiment)
    judged = history.judged
    training = sum(n for purpose, n in samples.items() if purpose != "eval")
    return {
        "name": experiment.name,
        "title": experiment.title,
        "protocol": history.plan.protocol,
        "domain": experiment.domain.slug,
        "expert": experiment.expert.alias,
        "seed": experiment.seed,
        "state": experiment.state,
        "note": experiment.note,
        "steps": history.steps,
        "samples": samples,
        "samples_by_expert": budget.by_expert(experiment),
        "training_samples": training,
        "expert_reward": {"base": _expert(judged[:1]), "final": _expert(judged[-1:]), "best": _best(judged)},
        "proxy_reward": {"base": _json(history.first_proxy_reward), "final": _json(history.last_proxy_reward)},
        "pgr": _pgr(history, ceiling),
        "efficiency": _efficiency(history, ceiling, training),
        "realignments": [_realignment(look) for look in history.looks if look.realigned],
        "unscored_rate": {"evaluation": _json(history.unscored), "training": history.unscored_in_training},
        "rounds": _rounds(history),
        "curve": _curve(history),
        "proxies": lineage.proxies(experiment),
        "roll_backs": lineage.roll_backs(experiment),
        "best_step": experiment.best_step,
        "plan": history.plan.to_dict(),
    }


def recovered(experiment: Experiment) -> Estimate:
    """PGR so far, by the latest look, against the latest ceiling of the domain that is done. Where it is not defined, the note says why."""
    if experiment.plan.protocol == "ceiling":
        return Estimate(None, note="this is the ceiling itself")
    done = Experiment.objects.filter(domain=experiment.domain, config__plan__protocol="ceiling", state=Experiment.State.DONE)
    if (ceiling := done.order_by("-ended").first()) is None:
        return Estimate(None, note="no ceiling experiment of this domain is done yet")
    asked, above = eval_batches(experiment), eval_batches(ceiling)
    if len(asked) < 2 or not above:
        return Estimate(None, note="there has not been a second look at the policy yet")
    looks = [measures.look_at(batch) for batch in (asked[-1], asked[0], above[-1])]
    method, base, top = [(look.expert, look.prompts) for look in looks]
    return recovery.pgr(method=method, base=base, ceiling=top)


def _best(looks: Sequence[Seen]) -> Report | None:
    """The highest expert reward of all looks, with its step."""
    rewards = [(measures.expert_reward(look.before), look.step) for look in looks]
    known = [(estimate, step) for estimate, step in rewards if estimate.value is not None]
    if not known:
        return None
    estimate, step = max(known, key=lambda pair: pair[0].value or 0.0)
    return {**asdict(estimate), "step": step}


def _pgr(history: History, ceiling: History | None) -> Report | None:
    """Against the last look of the ceiling; the base is the experiment's own first look."""
    if ceiling is None or len(history.judged) < 2 or len(ceiling.judged) < 2:
        return None
    estimate = recovery.pgr(method=_sample(history.judged[-1]), base=_sample(history.judged[0]), ceiling=_sample(ceiling.judged[-1]))
    return {**asdict(estimate), "ceiling": ceiling.experiment.name}


def _efficiency(history: History, ceiling: History | None, training: int) -> Report | None:
    """How many times fewer expert samples than the ceiling: in all, and up to where the ceiling first had the same reward."""
    if ceiling is None or not training or not history.judged:
        return None
    looks = [(look.samples, _sample(look)) for look in ceiling.judged if any(score is not None for score in look.before.expert)]
    if not looks:
        return None
    result = recovery.efficiency([training], [_sample(history.judged[-1])], [looks])
    matched = result.matched.value
    return {
        "ceiling": ceiling.experiment.name,
        "ceiling_samples": looks[-1][0],
        "ratio": result.ratio.value,
        "matched_samples": None if matched is None else matched * training,
        "matched_ratio": matched,
        "matched": _json(result.matched),
        "note": result.note,
    }


def _sample(look: Seen) -> Sample:
    return look.before.expert, look.before.prompts


def _realignment(look: Seen) -> Report:
    before = measures.agreement(look.before) if any(look.before.traces) else {}
    after = measures.agreement(look.after) if look.after else {}
    names = {"before": "alignment", "raw_before": "raw_correlation", "gain_before": "predicted_gain"}
    then = {"after": "alignment", "raw_after": "raw_correlation", "gain_after": "predicted_gain"}
    return {
        "step": look.step,
        "proxy": look.realigned,
        "learnt_from": look.learnt_from,
        **{key: _json(before.get(name)) for key, name in names.items()},
        **{key: _json(after.get(name)) for key, name in then.items()},
        "change": _json(measures.realigned(look.before, look.after)) if before and after and look.after else None,
    }


def _rounds(history: History) -> list[Report]:
    """One row per look with what was learnt there, and how expert reward moved until the next look."""
    rows = []
    for i, look in enumerate(history.looks):
        following = [later for later in history.looks[i + 1 :] if later.before.prompts][:1]
        realignment = _realignment(look) if look.realigned else {}
        rows.append(
            {
                "round": i,
                "purpose": look.purpose,
                "step": look.step,
                "samples": look.asked,
                "alignment_before": realignment.get("before")
                or (_json(measures.agreement(look.before)["alignment"]) if any(look.before.traces) else None),
                "alignment_after": realignment.get("after"),
                "alignment_change": realignment.get("change"),
                "expert_reward": _expert([look]) if look.before.prompts else None,
                "expert_reward_next": _expert(following),
                "unique_rate": look.unique,
            }
        )
    return rows


def _curve(history: History) -> Report:
    """What the chart shows: rewards at each look, where the proxy was realigned, and the reward that RL saw at each step."""
    looks = [
        {"step": s.step, "expert": _expert([s]), "proxy": _json(measures.proxy_reward(s.before)) if any(s.before.traces) else None}
        for s in history.judged
    ]
    return {"looks": looks, "realignments": [s.step for s in history.looks if s.realigned], "rl": history.rewards}


def _expert(looks: Sequence[Seen]) -> Report | None:
    return _json(measures.expert_reward(looks[0].before)) if looks else None


def _json(estimate: Estimate | None) -> Report | None:
    return None if estimate is None else asdict(estimate)
