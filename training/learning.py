"""What a proxy learns from: the expert's own words on chosen rollouts, old and new, as grading traces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from training.models import Candidate, Experiment, Stage

LEARNT_FROM = (Batch.Purpose.INITIAL, Batch.Purpose.UPDATE)  # never eval: what measures must stay unseen
# What a verdict needs to be learnt from, by protocol; all else needs both.
NEEDS_NO_SCORE = ("context-feedback",)
NEEDS_NO_CRITIQUE = ("scalar-head",)


@dataclass(frozen=True, slots=True)
class Lesson:
    """The verdicts to learn from; `skipped` lacked the score or the critique that this needs."""

    feedback: list[Feedback]
    skipped: int


def lesson(experiment: Experiment, stage: protocol.Realign | protocol.Rewrite) -> Lesson:
    """The newest verdicts (as many as the strategy lets the prompt absorb) and a seeded choice of earlier ones.

    Raises `StageFailed` when none of them can be learnt from.
    """
    seed = derive_seed(experiment.seed, stage.key)
    # The newest were asked for at this step; a budget that ended earlier leaves none, and then there is no realignment.
    batch = Batch.objects.get(experiment=experiment.name, key__in=[f"{experiment.name}/ask-{p}-{stage.step}" for p in LEARNT_FROM])
    came = asking.verdicts(batch)
    usable = [f for f in came if is_usable(experiment, f)]
    skipped = len(came) - len(usable)
    if not usable:
        raise StageFailed(
            f"None of the {len(came)} verdicts for step {stage.step} can be learnt from: each lacks a score or a critique.",
            f"Have them completed (reopen items of batch “{batch.title}”), then resume.",
        )
    if len({f.item.rollout_id for f in usable}) > stage.count:  # the expert spoke about the whole pool, so that one can see where the proxy disagreed
        usable = _ranked(experiment, stage, batch, usable)
    texts = set(list(dict.fromkeys(f.item.rollout_id for f in usable))[: stage.count])
    new = [f for f in usable if f.item.rollout_id in texts]
    old = _earlier(experiment, new)
    replayed = Random(seed).sample(old, min(stage.replay, len(old)))
    return Lesson(new + sorted(replayed, key=lambda f: f.pk), skipped)


def _ranked(
    experiment: Experiment, stage: protocol.Realign | protocol.Rewrite | protocol.Search, batch: Batch, usable: list[Feedback]
) -> list[Feedback]:
    """The `usable` of the batch's verdicts, the most wanted first, by the plan's strategy and the proxy before this stage."""
    proxy = experiment.proxies.get(number=stage.number - 1)
    order = select.choose_feedback(experiment.plan.strategy, batch, batch.items.count(), derive_seed(experiment.seed, stage.key), proxy.digest)
    by_id = {f.pk: f for f in usable}
    return [by_id[pk] for pk in order if pk in by_id]


def is_usable(experiment: Experiment, feedback: Feedback) -> bool:
    """Whether the verdict says what this protocol learns from."""
    method = experiment.plan.protocol
    return (feedback.score is not None or method in NEEDS_NO_SCORE) and (bool(feedback.critique.strip()) or method in NEEDS_NO_CRITIQUE)


def _earlier(experiment: Experiment, new: list[Feedback]) -> list[Feedback]:
    """The current verdicts on what earlier versions learnt from. One that was corrected since is learnt as it stands now."""
    items = Feedback.objects.filter(proxies__experiment=experiment).values("item_id")
    rows = Feedback.objects.filter(item_id__in=items, current=True, counted=True, item__batch__purpose__in=LEARNT_FROM)
    found = rows.exclude(pk__in=[f.pk for f in new]).select_related("item__rollout__prompt").order_by("pk")
    return [f for f in found if is_usable(experiment, f)]


def examples(experiment: Experiment, feedback: list[Feedback]) -> Iterator[dict[str, Any]]:
    """The grading prompt on each rollout, and the trace the proxy is to write: the expert's words."""
    fmt = TraceFormat(**experiment.config["format"])
    for f in feedback:
        yield {"prompt": asked(experiment, f), "completion": write_trace(f.critique, f.deliberation, f.score, fmt)}


def scored(experiment: Experiment, feedback: list[Feedback]) -> Iterator[dict[str, Any]]:
    """The grading prompt on each rollout, and the expert's score alone."""
    for f in feedback:
        yield {"prompt": asked(experiment, f), "score": f.score}


def rewritten(experiment: Experiment, feedback: list[Feedback], traces: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The grading prompt on each rollout, and the kept traces that the proxy wrote on it while it was shown the expert's words."""
    prompts = {f.pk: asked(experiment, f) for f in feedback}
    for trace in traces:
        if trace["kept"]:
            yield {"prompt": prompts[trace["id"]], "completion": trace["raw"]}


def asked(experiment: Experiment, feedback: Feedback) -> str:
    """What the proxy is asked about the rollout of a verdict."""
    rollout = feedback.item.rollout
    case = Case(rollout.prompt.text, rollout.content)
    return GradingPrompt(experiment.config["grading_prompt"]).render(case, TraceFormat(**experiment.config["format"]))


def as_examples(feedback: Iterable[Feedback], proxy: dict[int, list[str]] | None = None) -> Iterator[dict[str, Any]]:
    """Verdicts as jobs read them; `proxy`: traces of the proxy on the same rollouts, by the rollout's id."""
    for f in feedback:
        rollout = f.item.rollout
        row = {"id": f.pk, "instructions": rollout.prompt.text, "content": rollout.content}
        row |= {"critique": f.critique, "deliberation": f.deliberation, "score": f.score}
        yield row if proxy is None else row | {"proxy": proxy.get(rollout.pk, [])}


@dataclass(frozen=True, slots=True)
class Material:
    """What grading prompts are written from, in order of preference, and what they are tried on."""

    examples: list[Feedback]
    validation: list[Feedback]
    draw: str  # "random": each candidate draws its own from the examples; "first": all are written from the first


def material(experiment: Experiment, stage: protocol.Search) -> Material:
    """The newest verdicts on the policy in hand and those of the checks since the last realignment; validation verdicts of this step.

    Raises `StageFailed` when no prompt can be written from any of them.
    """
    plan, ended = experiment.plan, experiment.stages.filter(ended__isnull=False).select_related("batch")
    before = ended.filter(kind="search").order_by("-number").first()
    since = ended.filter(kind="ask", number__gt=before.number if before else 0).order_by("number")
    asked_since = [s.batch for s in since if s.batch is not None]
    newest = [batch for batch in asked_since if batch.purpose in LEARNT_FROM]
    checks = [batch for batch in asked_since if batch.purpose == Batch.Purpose.CHECK]
    came = [f for batch in (*newest, *checks) for f in asking.verdicts(batch)]
    usable = [f for f in came if is_usable(experiment, f)]
    if not usable:
        raise StageFailed(f"None of the {len(came)} verdicts for step {stage.step} can be learnt from: each lacks a score or a critique.")
    validation = [f for batch in asked_since if batch.purpose == Batch.Purpose.VALIDATION for f in asking.verdicts(batch) if f.score is not None]
    if plan.strategy == "random" or plan.protocol in protocol.PER_PROMPT:
        return Material(usable, validation, "random")
    return Material(_ranked(experiment, stage, newest[0], usable), validation, "first")


def keep_candidates(stage: Stage, rows: Iterable[dict[str, Any]], chosen: Iterable[int]) -> None:
    """Write down every grading prompt that a search tried. Those that are there already stay."""
    kept = set(chosen)
    for row in rows:
        measured = {name: row["alignment"][name] for name in ("value", "low", "high", "samples", "left_out", "note")}
        own = {name: row[name] for name in ("prompts", "by_task", "words", "scores")}
        values = {**own, **measured, "note": measured["note"][:200], "chosen": row["number"] in kept}
        candidate, new = Candidate.objects.get_or_create(stage=stage, number=row["number"], defaults=values)
        if new:
            candidate.feedback.set(row["examples"])
