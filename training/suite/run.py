"""Running what is left of a suite, some experiments at a time, each in a process of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from training import runner
from training.models import Experiment, Suite
from training.suite.actions import experiment_of
from training.suite.plan import Planned

MAX_ATTEMPTS = 3  # processes started for one experiment, where they end before it does


class Process(Protocol):
    """What `subprocess.Popen` has."""

    def poll(self) -> int | None: ...


class Runs:
    """Call `look` now and then. `begin` starts a process that carries the experiment of that name on to its end.

    The rows alone say what is left: after a kill, a new one goes on where this one stood.
    """

    def __init__(self, suite: Suite, wanted: Sequence[Planned], at_once: int, begin: Callable[[str], Process]) -> None:
        self.suite, self.wanted, self.at_once, self.begin = suite, wanted, at_once, begin
        self.at_work: dict[str, Process] = {}
        self.attempts: Counter[str] = Counter()

    def look(self) -> bool:
        """Start what there is room for. True while anything is at work."""
        self.at_work = {name: process for name, process in self.at_work.items() if process.poll() is None}
        for one in self.wanted:
            if len(self.at_work) >= self.at_once:
                break
            if one.name not in self.at_work and self.is_left(one):
                self.attempts[one.name] += 1
                self.at_work[one.name] = self.begin(one.name)
        return bool(self.at_work)

    def is_left(self, one: Planned) -> bool:
        """Whether a process should be started for it. One that failed is tried once by each command, one whose process died several times."""
        experiment = experiment_of(self.suite, one)
        if experiment is None or experiment.state in (Experiment.State.DONE, Experiment.State.STOPPED):
            return False
        if not self.attempts[one.name]:
            return True
        if experiment.state not in (Experiment.State.DRAFT, *Experiment.ACTIVE):
            return False
        if self.attempts[one.name] < MAX_ATTEMPTS:
            return True
        if experiment.state != Experiment.State.DRAFT:
            runner.fail(experiment.pk, f"Its process ended {MAX_ATTEMPTS} times before it did; see its log. Run the suite again to try again.")
        return False
