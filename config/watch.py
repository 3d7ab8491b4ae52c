"""Experiments on a terminal: a bar for each, a line for each stage that has ended. For the demo and for suites."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from django.db import DatabaseError, connection
from django.db.models import Max
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from training.models import Experiment, Stage, StepMetric
from training.narrate import sentence

State = Experiment.State
LOOK_SECONDS = 1.0
MOST_BARS = 8  # of more experiments than this, those that run are shown


def watch(names: Sequence[str], console: Console, meanwhile: Callable[[], bool | None]) -> list[Experiment]:
    """Show the experiments until none of them is running or yet to start. Returns their rows.

    `meanwhile` is called at every look; while it says True, more is to come.
    """
    told: set[int] = set(Stage.objects.filter(experiment__name__in=names, ended__isnull=False).values_list("pk", flat=True))
    if told:
        console.print(f"Going on after {len(told)} stages.")
    columns = (
        TextColumn("{task.fields[name]:16}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TextColumn("RL steps,"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as bars:
        tasks = {}
        while True:
            try:
                more = meanwhile()
                experiments = list(Experiment.objects.filter(name__in=names).order_by("id"))
                for experiment in experiments:
                    if experiment.name not in tasks:
                        tasks[experiment.name] = bars.add_task("", name=experiment.name, total=experiment.plan.steps)
                    shown = len(names) <= MOST_BARS or experiment.state in Experiment.ACTIVE
                    note = experiment.note.split("\n")[0][:90]
                    bars.update(tasks[experiment.name], completed=steps_done(experiment), description=note, visible=shown)
                tell_new(experiments, told, console)
            except DatabaseError as exc:  # away for a moment: the workers wait for it as well
                console.print(f"The database does not answer ({' '.join(str(exc).split())[:120]}); looking again.")
                connection.close()
                more, experiments = True, []
            if not more and not any(experiment.state in (State.DRAFT, *Experiment.ACTIVE) for experiment in experiments):
                return experiments
            time.sleep(LOOK_SECONDS)


def steps_done(experiment: Experiment) -> int:
    return StepMetric.objects.filter(experiment=experiment).aggregate(most=Max("step"))["most"] or 0


def tell_new(experiments: list[Experiment], told: set[int], console: Console) -> None:
    """A line for each stage that ended since the last look, and for each experiment's end."""
    new = Stage.objects.filter(experiment__in=experiments, ended__isnull=False).exclude(pk__in=told)
    for stage in new.select_related("job", "batch", "experiment").order_by("ended"):
        told.add(stage.pk)
        assert stage.ended
        taken = (stage.ended - stage.started).total_seconds()
        console.print(f"{stage.experiment.name:16} {sentence(stage)} [dim]({taken:.0f} s)[/dim]")
