"""Experts that do not always answer, or never like what they get."""

from __future__ import annotations

from collections.abc import Sequence

from grading.errors import GraderError, Retry
from grading.types import Case, Verdict
from training.pocket.expert import PocketExpert


class LockedOut:
    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        raise GraderError("the key is not valid", retry=Retry.never())


class Overloaded(PocketExpert):
    """Answers every second time."""

    calls = 0

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        type(self).calls += 1
        if self.calls % 2:
            raise GraderError("overloaded", retry=Retry.after(0.01))
        return await super().grade(cases, seed=seed)


class Tiring:
    """Likes everything less each time that it is asked."""

    calls = 0

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        type(self).calls += 1
        return [Verdict(90 * 0.95**self.calls + len(case.content) % 5 / 10, critique="That again.") for case in cases]
