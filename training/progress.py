"""How far a stage is."""

from __future__ import annotations

from dataclasses import dataclass

from training.protocol import Outcome


@dataclass(frozen=True, slots=True)
class Progress:
    """Its outcome, or a note on what is going on; `people` is True where it waits for them."""

    outcome: Outcome | None = None
    note: str = ""
    people: bool = False
