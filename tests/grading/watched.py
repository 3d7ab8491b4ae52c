"""Requests that know how many of them are held at once."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakSet

from grading.types import Message


class Turns(list):
    __hash__ = object.__hash__  # so that it can be watched


class Watched(Sequence):
    """A request for each text, written out when it is looked at, as a grader's are. `most` is how many were ever held at the same time."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.live, self.most = texts, WeakSet(), 0

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, place):
        turns = Turns([Message("user", self.texts[place])])
        self.live.add(turns)
        self.most = max(self.most, len(self.live))
        return turns
