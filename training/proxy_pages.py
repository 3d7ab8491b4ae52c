"""What the pages about the proxy show: where a version comes from, what it asks, which prompts were tried, and what a person needs to write one.

Read from the rows, and a few lines of jobs' files. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from django.db.models import Count

from annotation.models import Batch, Feedback, Prompt
from grading.errors import ConfigurationError
from grading.parsing import parse_trace
from grading.prompts import GradingPrompt, task_digest
from grading.realign.rubric import lacking
from grading.types import Case, TraceFormat, Verdict
from training import actions, learning, pages, protocol, writers
from training.engine.files import Lines
from training.engine.rewrite import LEAK
from training.errors import StageFailed
from training.models import Candidate, Experiment, ProxyVersion, Stage
from training.presets import STRATEGIES
from training.start import SCALAR

TASKS = 20  # of the prompts for single tasks, that a page shows
VERDICTS = 30  # of those that a prompt was written from
LINES = 200  # of a job's file that are read to find examples
EXAMPLES = 3
REASONS = {LEAK: "gives its source away"}


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A version in the line that leads to another: `is_seen` where the viewer may open it; `learnt` says from which verdicts it was made."""

    version: ProxyVersion
    words: str
    is_seen: bool
    learnt: list[str]


def line(version: ProxyVersion, viewer: Any) -> list[Ancestor]:
    """The version and all that it came from, the newest first; also those of other experiments."""
    visible = actions.visible_to(viewer)
    found: list[Ancestor] = []
    at: ProxyVersion | None = version
    while at is not None:
        found.append(Ancestor(at, how(at), visible.filter(pk=at.experiment_id).exists(), _learnt(at)))
        at = at.parent
    return found


def how(version: ProxyVersion) -> str:
    """How it was made, in words."""
    if version.parent is not None and version.parent.experiment_id != version.experiment_id:
        return "taken over as it was"
    return pages.METHODS.get(version.method, version.method)


def _learnt(version: ProxyVersion) -> list[str]:
    """How many verdicts of which purpose it was made from, and how their texts were chosen."""
    purposes, strategies = dict(Batch.Purpose.choices), dict(STRATEGIES)
    rows = version.feedback.order_by().values_list("item__batch__purpose", "item__batch__strategy").annotate(Count("pk"))
    return [
        f"{n:,} verdict{'s' if n != 1 else ''} ({purposes[purpose]}), chosen {strategies.get(strategy, strategy)}"
        for purpose, strategy, n in sorted(rows)
    ]


@dataclass(frozen=True, slots=True)
class Asked:
    """The grading prompts of a proxy: those for every task, and of those for single tasks the first few with the text of the task."""

    shared: list[GradingPrompt]
    single: list[tuple[str, list[GradingPrompt]]] = field(default_factory=list)
    tasks: int = 0

    @property
    def more(self) -> int:
        return self.tasks - len(self.single)


def asked(experiment: Experiment, prompts: Iterable[Any], by_task: Mapping[str, list[Any]]) -> Asked:
    shared = [GradingPrompt.of(entry) for entry in prompts]
    if not by_task:
        return Asked(shared)
    train = Prompt.objects.filter(pk__in=experiment.config.get("train_prompts", [])).order_by("pk")
    texts = {task_digest(prompt.text): prompt.text for prompt in train}
    order = [*(task for task in texts if task in by_task), *(task for task in by_task if task not in texts)]
    single = [(texts.get(task, task), [GradingPrompt.of(entry) for entry in by_task[task]]) for task in order[:TASKS]]
    return Asked(shared, single, len(by_task))


def asked_by(version: ProxyVersion) -> Asked:
    options = version.judge["options"]
    if gives_scores_alone(version):
        return Asked([GradingPrompt.of(options["prompt"])])
    return asked(version.experiment, options["prompts"], options.get("by_task", {}))


def gives_scores_alone(version: ProxyVersion) -> bool:
    return bool(version.judge["backend"] == SCALAR)


@dataclass(frozen=True, slots=True)
class Example:
    """A trace that the proxy wrote while it was shown the expert's words."""

    verdict: Verdict
    rollout: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What came of the traces that a version was taught (context distillation); some of those that were kept, and some that were not."""

    stage: Stage
    kept: list[Example]
    rejected: list[Example]

    @property
    def leaks(self) -> float:
        """The share of traces that give their source away, 0..1."""
        outcome = self.stage.outcome or {}
        return outcome["rejected"].get(LEAK, 0) / outcome["tried"] if outcome.get("tried") else 0.0

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why traces were rejected, the most frequent first."""
        rejected = (self.stage.outcome or {}).get("rejected", {})
        return [(REASONS.get(reason, reason), n) for reason, n in sorted(rejected.items(), key=lambda pair: -pair[1])]


def rewriting(version: ProxyVersion) -> Rewriting | None:
    """None where the version was not made by context distillation."""
    ended = version.experiment.stages.filter(kind="rewrite", arguments__number=version.number, ended__isnull=False)
    stage = ended.select_related("job").first()
    if stage is None or stage.job is None:
        return None
    rows = first_lines(stage.job.path / "traces.jsonl")
    kept, rejected = ([row for row in rows if fits(row)][:EXAMPLES] for fits in (lambda row: row["kept"], lambda row: row["reason"]))
    rollouts = dict(Feedback.objects.filter(pk__in=[row["id"] for row in kept + rejected]).values_list("pk", "item__rollout"))
    fmt = TraceFormat(**version.experiment.config["format"])

    def example(row: dict[str, Any]) -> Example:
        return Example(parse_trace(row["raw"], fmt), rollouts.get(row["id"]), REASONS.get(row["reason"], row["reason"]))

    return Rewriting(stage, [example(row) for row in kept], [example(row) for row in rejected])


def probes(version: ProxyVersion) -> list[dict[str, Any]]:
    """Alignment by samples seen while the version was taught (paper, appendix B.1): {samples, alignment}; none where nobody looked."""
    return first_lines(version.job.path / "probes.jsonl") if version.job is not None else []


def first_lines(path: Path) -> list[dict[str, Any]]:
    """Some lines of a job's file; none where it is gone, as old folders may be."""
    try:
        return list(islice(Lines(path, write=False), LINES))
    except (OSError, ValueError):
        return []


@dataclass(frozen=True, slots=True)
class Tried:
    """A grading prompt that a search tried, how many of the validation rollouts it scored, and the first of the verdicts that it was written from."""

    candidate: Candidate
    asked: Asked
    scored: int
    feedback: list[Feedback]
    more: int

    @property
    def title(self) -> str:
        return f"Prompt {self.candidate.number}" if self.candidate.number else "What the proxy had before"


def tried(stage: Stage) -> list[Tried]:
    """All candidates of a search, in order."""
    found = []
    for candidate in stage.candidates.all():
        feedback = candidate.feedback.select_related("item__rollout__prompt", "expert", "author").order_by("pk")
        total, scored = feedback.count(), sum(score is not None for score in candidate.scores.values())
        prompts = asked(stage.experiment, candidate.prompts, candidate.by_task)
        found.append(Tried(candidate, prompts, scored, list(feedback[:VERDICTS]), max(0, total - VERDICTS)))
    return found


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a person writes a grading prompt from: the verdicts, what of the proxy graded their texts, and the prompts that it has now."""

    stage: Stage
    feedback: list[Feedback]
    now: list[GradingPrompt]


def evidence(experiment: Experiment) -> Evidence | None:
    """None where no grading prompt is waited for."""
    stage = writers.awaited(experiment)
    if stage is None:
        return None
    wanted = protocol.Search(**{name: stage.arguments[name] for name in protocol.Search.__dataclass_fields__})
    try:
        feedback = learning.material(experiment, wanted).examples
    except StageFailed:  # corrected since, so that none of them can be learnt from
        feedback = []
    proxy = experiment.proxies.get(number=wanted.number - 1)
    return Evidence(stage, feedback, [GradingPrompt.of(entry) for entry in proxy.judge["options"]["prompts"]])


def compared(experiment: Experiment, feedback: Iterable[Feedback]) -> list[dict[str, Any]]:
    """Each verdict beside what the newest proxy version that graded its text wrote; {feedback, rollout, proxy (see `pages.traces`, or None)}."""
    rows = []
    for one in feedback:
        graded = pages.traces(experiment, one.item.rollout)
        rows.append({"feedback": one, "rollout": one.item.rollout, "proxy": graded[-1] if graded else None})
    return rows


def filled(experiment: Experiment, text: str, feedback: Feedback | None) -> dict[str, str]:
    """A grading prompt as the grader would read it on the text of a verdict, and what it lacks."""
    fmt = TraceFormat(**experiment.config["format"])
    rollout = feedback.item.rollout if feedback else None
    case = Case(rollout.prompt.text, rollout.content) if rollout else Case("‹what the writer was asked›", "‹the text to judge›")
    try:
        read = GradingPrompt(text).render(case, fmt)
    except ConfigurationError:
        read = ""
    return {"text": read, "lacks": lacking(text, experiment.config["grading_prompt"], fmt)}
