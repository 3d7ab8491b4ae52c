"""An experiment told on a terminal: a line for each stage that ended, a bar for the job at work."""

from __future__ import annotations

import time
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from annotation.models import Batch
from training.models import Experiment, Job, Measurement, Stage


class Narrator:
    """Call it with the experiment and the job at work, whenever either may have moved; it says what is new."""

    def __init__(self, stream: Any, prefix: str = "") -> None:
        # The command's stream, so that captured output is captured.
        self.console = Console(file=getattr(stream, "_out", stream), soft_wrap=True, highlight=False)
        self.prefix = prefix
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=self.console, transient=True
        )
        self.task: Any = None
        self.told: set[int] | None = None
        self.note = ""
        self.at_work = (0, 0)
        self.shown = 0

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bar.stop()

    def __call__(self, experiment: Experiment, job: Job | None) -> None:
        if self.told is None:
            self.told = set(experiment.stages.filter(ended__isnull=False).values_list("pk", flat=True))
            if self.told:
                self.say(f"Going on after {len(self.told)} stages.")
        for stage in experiment.stages.filter(ended__isnull=False).exclude(pk__in=self.told).select_related("job", "batch"):
            self.told.add(stage.pk)
            self.say(sentence(stage))
        if job is None and experiment.state == Experiment.State.WAITING and experiment.note != self.note:
            self.note = experiment.note
            self.say(f"{self.note} They review at /review/.")
        if job is not None and (job.pk, max(job.attempts, 1)) != self.at_work:
            self.at_work = (job.pk, max(job.attempts, 1))
            self.say(experiment.note if job.attempts < 2 else f"{experiment.note} (attempt {job.attempts})")
        self.show(experiment, job)

    def say(self, text: str) -> None:
        seconds = int(time.monotonic() - self.started)
        self.console.print(f"{self.prefix}{seconds // 60:3d}:{seconds % 60:02d}  {text}", markup=False)

    def show(self, experiment: Experiment, job: Job | None) -> None:
        """A bar for the job at work; none where nothing is at work."""
        if self.task is not None and (job is None or job.pk != self.shown):
            self.bar.remove_task(self.task)
            self.task = None
        if job is None or not job.progress.get("total"):
            return
        if self.task is None:
            self.task, self.shown = self.bar.add_task(f"{experiment.name} {job.key}", total=job.progress["total"]), job.pk
        self.bar.update(self.task, completed=job.progress["done"])


def sentence(stage: Stage) -> str:
    """What an ended stage did, in one line."""
    arguments, outcome = stage.arguments, stage.outcome or {}
    match stage.kind:
        case "sample":
            return f"Step {arguments['step']}: sampled {outcome['rollouts']} rollouts."
        case "ask":
            purpose = Batch.Purpose(arguments["purpose"]).label
            mean = "" if outcome["mean"] is None else f", mean score {outcome['mean']:.1f}"
            return f"Step {arguments['step']}: the expert gave {outcome['samples']} verdicts ({purpose}){mean}."
        case "rewrite":
            leaks, kept = outcome["rejected"].get("leak", 0), outcome["kept"]
            return f"Step {arguments['step']}: the proxy wrote {outcome['tried']} traces of its own, {kept} kept, {leaks} gave their source away."
        case "search":
            tried = stage.candidates.exclude(number=0).count()
            return f"Step {arguments['step']}: proxy version {outcome['proxy']} has the best {len(outcome['chosen'])} of {tried} prompts."
        case "optimise":
            return f"The prompt was improved by {outcome['calls']} verdicts."
        case "realign":
            skipped = f", {outcome['skipped']} could not be learnt from" if outcome["skipped"] else ""
            return f"Step {arguments['step']}: proxy version {outcome['proxy']} learnt from {outcome['examples']} verdicts{skipped}."
        case "grade":
            before, after = (_alignment(stage, when) for when in ("before", "after"))
            return f"Step {arguments['step']}: alignment {before} before the realignment, {after} after it."
        case _:
            return f"RL from step {arguments['start']} to {outcome['step']}."


def _alignment(stage: Stage, when: str) -> str:
    rows = Measurement.objects.filter(experiment_id=stage.experiment_id, step=stage.arguments["step"], name="alignment", when=when)
    value = rows.values_list("value", flat=True).first()
    return "not defined" if value is None else f"{value:.2f}"
