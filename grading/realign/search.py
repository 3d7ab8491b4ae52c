"""The search for prompts: which examples each candidate is made from, and which candidates are kept (paper, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import TypeVar

import numpy as np

from grading.alignment import as_array

T = TypeVar("T")


def draw(examples: Sequence[T], shown: int, how: str, seed: int) -> list[T]:
    """Up to `shown` of the examples in an order of the draw's own: any of them ("random"), or the first ones, where the best come first ("first")."""
    pool = examples if how == "random" else examples[:shown]
    return Random(seed).sample(pool, min(shown, len(pool)))


def choose(alignments: Mapping[int, float | None], keep: int) -> list[int]:
    """The numbers of the `keep` candidates of the highest alignment, best first; ties by number. One without an alignment is never chosen."""
    ranked = sorted((-value, number) for number, value in alignments.items() if value is not None)
    return [number for _, number in ranked[:keep]]


def ensemble(scores: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Of each rollout the mean score of the candidates (rows of `scores`, at least one) that scored it; None where none did."""
    table = np.array([as_array(row) for row in scores])
    scored = np.isfinite(table)
    counts = scored.sum(0)
    sums = np.where(scored, table, 0.0).sum(0)
    return [float(total / count) if count else None for total, count in zip(sums, counts, strict=True)]
