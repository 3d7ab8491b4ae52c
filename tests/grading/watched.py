"""Requests that know how many of them are held at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import finalize

from grading.types import Message


class Turns(list):
    """A list that can be watched."""


class Watched(Sequence):
    """A request for each text, written out when it is looked at, as a grader's are. `most` is how many were ever held at the same time."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.held, self.most = texts, 0, 0

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, place: Any) -> Any:
        turns = Turns([Message("user", self.texts[place])])
        self.held += 1
        self.most = max(self.most, self.held)
        finalize(turns, self._let_go)
        return turns

    def _let_go(self) -> None:
        self.held -= 1
