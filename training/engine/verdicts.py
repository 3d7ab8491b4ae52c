"""Judges at work in a job, and verdicts as the lines that are written of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from grading.backends import load
from grading.secrecy import clean, hiding
from grading.types import Case, Judge, Verdict


class Bench:
    """A judge with an event loop of its own, kept for the whole job: an HTTP client belongs to the loop it was first used in."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.judge: Judge = load(config)
        self.hide = hiding(config, environment=False)
        self.runner = asyncio.Runner()

    def grade(self, cases: Sequence[Case], seed: int) -> list[Verdict]:
        """One verdict per case. Raises ValueError where the judge gives another number of them."""
        verdicts = self.runner.run(self.judge.grade(cases, seed=seed)) if cases else []
        if len(verdicts) != len(cases):
            raise ValueError(f"{type(self.judge).__name__} gave {len(verdicts)} verdicts on {len(cases)} cases")
        return [clean(verdict, self.hide) for verdict in verdicts]


def as_line(verdict: Verdict) -> dict[str, Any]:
    return {
        "score": verdict.score,
        "critique": verdict.critique,
        "deliberation": verdict.deliberation,
        "raw": verdict.raw,
        "unscored_reason": verdict.unscored_reason,
    }


def grades(verdict: Verdict) -> list[dict[str, Any]]:
    """The single traces of a mean verdict, or the one there is."""
    return [as_line(sample) for sample in (verdict.samples or (verdict,))]
