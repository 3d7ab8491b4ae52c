"""What the pages of suites show, read from the rows. Writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache

from training.models import Experiment, Suite
from training.suite import figures, plan, tables
from training.suite.plan import Arm, Planned

State = Experiment.State


@dataclass(frozen=True, slots=True)
class Cell:
    """One experiment in the grid; `experiment` is None while it is not made."""

    one: Planned
    experiment: Experiment | None

    @property
    def words(self) -> str:
        if self.experiment is None:
            return f"waits for {self.one.arm.after}" if self.one.arm.after else "not begun"
        return str(self.experiment.get_state_display())


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a suite is: `rows` are its arms, each with a cell for every column (None: not run there)."""

    columns: list[str]
    rows: list[tuple[Arm, list[Cell | None]]]
    total: int
    counts: Counter[str]

    @property
    def done(self) -> int:
        return self.counts[State.DONE]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to run."""
        return self.counts[State.DONE] + self.counts[State.STOPPED] == self.total

    @property
    def words(self) -> str:
        """How many there are in each state that needs saying."""
        parts = [f"{self.done} of {self.total} experiments done"]
        parts += [
            f"{n} {State(state).label}" for state in (*Experiment.ACTIVE, State.PAUSED, State.FAILED, State.STOPPED) if (n := self.counts[state])
        ]
        return ", ".join(parts)


def progress(suite: Suite) -> Progress:
    rows = {(e.arm, e.base, e.seed): e for e in suite.experiments.all()}
    wanted = plan.planned(suite)
    seeds, bases = suite.config["seeds"], plan.bases(suite)
    places = [(base.name, seed) for seed in seeds for base in bases]
    cells = {(one.arm.name, one.base.name, one.seed): Cell(one, rows.get((one.arm.name, one.base.name, one.seed))) for one in wanted}
    return Progress(
        columns=[f"seed {seed}" if len(bases) == 1 else f"seed {seed}, base {base}" for base, seed in places],
        rows=[(arm, [cells.get((arm.name, *place)) for place in places]) for arm in plan.arms(suite)],
        total=len(wanted),
        counts=Counter(cell.experiment.state for cell in cells.values() if cell.experiment is not None),
    )


def figure(results: dict[str, Any], name: str, kind: str, dark: bool) -> bytes:
    """`figures.draw`, once for each state of the results."""
    digest = hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()[:16]
    key = f"suite-figure-{digest}-{name}-{kind}-{dark}"
    found: bytes | None = cache.get(key)
    if found is None:
        found = figures.draw(name, results, kind, dark=dark)
        cache.set(key, found, 3600)
    return found


def cells(results: dict[str, Any]) -> list[list[tuple[str, str]]]:
    """The rows of the table, each cell as its value and what stands below it: the interval."""
    parts = [[cell.partition(" [") for cell in row] for row in tables.rows(results)]
    return [[(value, bracket.strip() + interval) for value, bracket, interval in row] for row in parts]


def promises(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each arm with a proxy: its mean predicted and actual gain from look to look, and how often what was promised was lost."""
    found = []
    for arm in figures.measured(results):
        if gains := arm["gains"]:
            found.append(
                {
                    "title": arm["title"],
                    "predicted": sum(gain["predicted"] for gain in gains) / len(gains),
                    "actual": sum(gain["actual"] for gain in gains) / len(gains),
                    "lost": sum(gain["predicted"] > 0 > gain["actual"] for gain in gains),
                    "times": len(gains),
                }
            )
    return found
