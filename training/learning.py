"""What a proxy learns from: the expert's own words on chosen rollouts, old and new, as grading traces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from annotation import select
from annotation.models import Batch, Feedback
from grading.parsing import write_trace
from grading.prompts import GradingPrompt
from grading.types import Case, TraceFormat
from training import asking, protocol
from training.choices import derive_seed
from training.errors import StageFailed
from training.models import Experiment

LEARNT_FROM = (Batch.Purpose.INITIAL, Batch.Purpose.UPDATE)  # never eval: what measures must stay unseen


@dataclass(frozen=True, slots=True)
class Lesson:
    """The verdicts to learn from; `skipped` had no score or no critique, so a trace cannot be written from them."""

    feedback: list[Feedback]
    skipped: int


def lesson(experiment: Experiment, stage: protocol.Realign) -> Lesson:
    """The newest verdicts (as many as the strategy lets the prompt absorb) and a seeded choice of earlier ones.

    Raises `StageFailed` when none of them can be learnt from.
    """
    seed = derive_seed(experiment.seed, stage.key)
    # The newest were asked for at this step; a budget that ended earlier leaves none, and then there is no realignment.
    batch = Batch.objects.get(experiment=experiment.name, key__in=[f"{experiment.name}/ask-{p}-{stage.step}" for p in LEARNT_FROM])
    came = asking.verdicts(batch)
    usable = [f for f in came if f.score is not None and f.critique.strip()]
    skipped = len(came) - len(usable)
    if not usable:
        raise StageFailed(
            f"None of the {len(came)} verdicts for step {stage.step} can be learnt from: each lacks a score or a critique.",
            f"Have them completed (reopen items of batch “{batch.title}”), then resume.",
        )
    if len({f.item.rollout_id for f in usable}) > stage.count:  # the expert spoke about the whole pool, so that one can see where the proxy disagreed
        order = select.choose_feedback(experiment.plan.strategy, batch, len(came), seed, experiment.proxies.get(number=stage.number - 1).digest)
        by_id = {f.pk: f for f in usable}
        usable = [by_id[pk] for pk in order if pk in by_id]
    texts = set(list(dict.fromkeys(f.item.rollout_id for f in usable))[: stage.count])
    new = [f for f in usable if f.item.rollout_id in texts]
    old = _earlier(experiment, new)
    replayed = Random(seed).sample(old, min(stage.replay, len(old)))
    return Lesson(new + sorted(replayed, key=lambda f: f.pk), skipped)


def _earlier(experiment: Experiment, new: list[Feedback]) -> list[Feedback]:
    """The current verdicts on what earlier versions learnt from. One that was corrected since is learnt as it stands now."""
    items = Feedback.objects.filter(proxies__experiment=experiment).values("item_id")
    rows = Feedback.objects.filter(item_id__in=items, current=True, counted=True, score__isnull=False, item__batch__purpose__in=LEARNT_FROM)
    return list(rows.exclude(pk__in=[f.pk for f in new]).exclude(critique="").select_related("item__rollout__prompt").order_by("pk"))


def examples(experiment: Experiment, feedback: list[Feedback]) -> Iterator[dict[str, Any]]:
    """The grading prompt on each rollout, and the trace the proxy is to write: the expert's words."""
    prompt, fmt = GradingPrompt(experiment.config["grading_prompt"]), TraceFormat(**experiment.config["format"])
    for f in feedback:
        rollout = f.item.rollout
        case = Case(rollout.prompt.text, rollout.content)
        yield {"prompt": prompt.render(case, fmt), "completion": write_trace(f.critique, f.deliberation, f.score, fmt)}
