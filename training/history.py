"""What an experiment has been through, look by look, read from the rows once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Self

from annotation.models import Batch, Feedback, Prompt
from grading.alignment import Estimate
from training import asking, measures
from training.measures import Look
from training.models import Experiment, Stage
from training.presets import Plan

NOTHING = Look([], [], [], [], [])


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the policy, at `step`, and the realignment that followed it there, if one did.

    `before` has the grades of the proxy as it came there (none for the ceiling), `after` those of the realigned one, which
    learnt from `learnt_from` verdicts, old and new; `asked` were given at this look, to learn from or to measure. `samples` are the expert's verdicts
    that RL itself had used by then (the ceiling's only). `unique` is the share of different texts.
    """

    step: int
    purpose: str
    before: Look
    after: Look | None
    realigned: int | None
    learnt_from: int | None
    asked: int
    samples: int
    unique: float | None


@dataclass(frozen=True)
class History:
    """An experiment with all that it has seen so far."""

    experiment: Experiment
    plan: Plan
    looks: list[Seen]

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        if "format" not in experiment.config:  # not started
            return cls(experiment, experiment.plan, [])
        stages = {s.key: s for s in experiment.stages.filter(ended__isnull=False).select_related("job", "batch")}
        steps = [s.arguments["step"] for s in stages.values() if s.key.startswith("sample-")]
        seen = [_seen(experiment, step, stages) for step in steps]
        return cls(experiment, experiment.plan, [look for look in seen if look is not None])

    @property
    def judged(self) -> list[Seen]:
        """The looks at which the expert judged the policy."""
        return [look for look in self.looks if look.before.prompts]

    @cached_property
    def rewards(self) -> list[dict[str, float | None]]:
        """The mean reward that RL saw at each of its steps."""
        return [{"step": m.step, "reward": m.data.get("reward")} for m in self.experiment.step_metrics.order_by("step")]

    @property
    def steps(self) -> int:
        """RL steps done."""
        return max((row["step"] for row in self.rewards), default=0)  # type: ignore[return-value, type-var]

    @property
    def first_proxy_reward(self) -> Estimate | None:
        """At the first look, by the proxy that rewarded RL from there."""
        first = next((look.after or look.before for look in self.judged), NOTHING)
        return measures.proxy_reward(first) if any(first.traces) else None

    @property
    def last_proxy_reward(self) -> Estimate | None:
        """At the last look, by the proxy that had rewarded RL up to there."""
        last = next((look.before for look in reversed(self.judged)), NOTHING)
        return measures.proxy_reward(last) if any(last.traces) else None

    @property
    def unscored(self) -> Estimate | None:
        """The share of the proxy's traces without a score over all looks: of all versions, before and after."""
        looks = [look for seen in self.judged for look in (seen.before, seen.after) if look is not None and any(look.traces)]
        if not looks:
            return None
        everything = [[part for look in looks for part in getattr(look, name)] for name in ("prompts", "expert", "proxy", "traces", "contents")]
        return measures.unscored_rate(Look(*everything))

    @property
    def unscored_in_training(self) -> float | None:
        """The mean share of unscored rollouts over all RL steps."""
        shares = [m.data["unscored_rate"] for m in self.experiment.step_metrics.all() if m.data.get("unscored_rate") is not None]
        return fmean(shares) if shares else None


def _seen(experiment: Experiment, step: int, stages: dict[str, Stage]) -> Seen | None:
    """None where the look is not over yet."""
    sample = stages[f"sample-{step}"]
    asked = stages.get(f"ask-eval-{step}") or stages.get(f"ask-check-{step}")
    if asked is None and experiment.plan.evaluation:
        return None
    realign, regraded = stages.get(f"realign-{step}") or stages.get(f"search-{step}"), stages.get(f"grade-{step}")
    before = after = None
    if asked is not None and asked.batch is not None:
        before = measures.look_at(asked.batch, str(sample.job), sample.arguments["graded_by"])
        after = measures.look_at(asked.batch, str(regraded.job), regraded.arguments["graded_by"]) if regraded else None
    lesson = stages.get(f"ask-{realign_purpose(step)}-{step}") if realign else asked
    requests = sample.arguments["requests"]
    shown = [r["purpose"] for r in requests if r["split"] == Prompt.Split.EVAL] or [r["purpose"] for r in requests]
    return Seen(
        step=step,
        purpose=realign_purpose(step) if realign else (asked.arguments["purpose"] if asked else ""),
        before=before or NOTHING,
        after=after,
        realigned=realign.arguments["number"] if realign else None,
        learnt_from=len(realign.arguments["feedback"]) if realign else None,
        asked=len(asking.verdicts(lesson.batch)) if lesson is not None and lesson.batch is not None else 0,
        samples=_rewarded(stages, step),
        unique=measures.unique_share([rollout.content for purpose in shown for rollout in asking.sampled(sample, purpose)]),
    )


def realign_purpose(step: int) -> str:
    return "initial" if step == 0 else "update"


def _rewarded(stages: dict[str, Stage], step: int) -> int:
    batches = [s.batch_id for s in stages.values() if s.kind in ("train", "optimise") and s.batch_id and (s.outcome or {})["step"] <= step]
    return Feedback.objects.filter(item__batch__in=batches, revision=1).count()


def eval_batches(experiment: Experiment) -> list[Batch]:
    """The batches of the looks that are over, in order."""
    asked = experiment.stages.filter(kind="ask", ended__isnull=False, batch__isnull=False).select_related("batch").order_by("number")
    looks = asked.filter(arguments__purpose="eval") or asked.filter(arguments__purpose="check")
    return [stage.batch for stage in looks if stage.batch is not None]
