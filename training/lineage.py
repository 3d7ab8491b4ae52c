"""Where each proxy version comes from: which feedback, which prompts, which parent; and where RL went back."""

from __future__ import annotations

from collections import Counter
from typing import Any

from training.models import Experiment, ProxyVersion, Stage

Row = dict[str, Any]


def proxies(experiment: Experiment) -> list[Row]:
    """One entry per version, oldest first: number, method, step, digest, parent, and what it was made from.

    `feedback` counts the verdicts by purpose, `replayed` those that an earlier version had learnt from; `strategies` are how they were chosen.
    `rewritten` are the traces of context distillation and why others were dropped, `candidates` the prompts of a search, kept or not.
    """
    stages = {stage.key: stage for stage in experiment.stages.filter(ended__isnull=False)}
    versions = experiment.proxies.select_related("parent__experiment").prefetch_related("feedback__item__batch").order_by("number")
    found, known = [], set[int]()
    for version in versions:
        found.append(_version(version, stages, known))
        known |= {feedback.pk for feedback in version.feedback.all()}
    return found


def _version(version: ProxyVersion, stages: dict[str, Stage], known: set[int]) -> Row:
    parent, feedback = version.parent, list(version.feedback.all())
    row: Row = {
        "number": version.number,
        "method": version.method,
        "step": version.step,
        "digest": version.digest,
        "parent": None if parent is None else {"experiment": parent.experiment.name, "number": parent.number},
        "feedback": dict(Counter(f.item.batch.purpose for f in feedback)),
        "replayed": sum(f.pk in known for f in feedback),
        "strategies": sorted({f.item.batch.strategy for f in feedback}),
    }
    if rewrite := stages.get(f"rewrite-{version.step}"):
        row["rewritten"] = rewrite.outcome
    if version.number > 1 and (search := stages.get(f"search-{version.step}")):
        fields = ("number", "value", "low", "high", "samples", "note", "chosen")
        row["candidates"] = [{name: getattr(candidate, name) for name in fields} for candidate in search.candidates.all()]
        row["ensemble"] = [candidate["number"] for candidate in row["candidates"] if candidate["chosen"]]
    return row


def roll_backs(experiment: Experiment) -> list[Row]:
    """Where RL went on from an earlier checkpoint: after how many steps, and back to which."""
    trained = [stage.arguments for stage in experiment.stages.filter(kind="train").order_by("number")]
    return [{"after": a["start"], "back_to": a["origin"]} for a in trained if a.get("origin", a["start"]) != a["start"]]
