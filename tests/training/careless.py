"""A judge that somebody else might write, and that says its key wherever it can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grading.errors import GraderError, Retry
from grading.types import Case, Verdict


@dataclass
class Careless:
    """`fault`: where it says its key. As a dataclass it does so in its repr too."""

    api_key: str
    fault: str

    def __post_init__(self) -> None:
        if self.fault == "when it is made":
            raise ValueError(f"{self.api_key} is not a key for this")

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        if self.fault == "in its words":
            words = f"Written with {headers}."
            return [Verdict(50.0, critique=words, deliberation=words, raw=words, models=(f"model-of-{self.api_key}",)) for _ in cases]
        if self.fault == "in its reason":
            return [Verdict.unscored(f"no score for {self.api_key}") for _ in cases]
        try:
            raise ConnectionError(f"401 for {headers}")
        except ConnectionError as exc:
            if self.fault == "in an error to come back from":
                raise GraderError(f"{self.api_key} has used up its minute", retry=Retry.after(5)) from exc
            if self.fault == "in an error for good":
                raise GraderError(f"{self.api_key} is not valid", retry=Retry.never()) from exc
            raise RuntimeError(f"who is {self.api_key}?") from exc
