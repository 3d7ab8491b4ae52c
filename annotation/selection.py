"""Which rollouts are worth an expert's time: the strategies of the paper (section 3.4), pure.

Every function returns at most `n` different ids, the most wanted first. Ties are broken at random by `rng`, so that the order in which
the ids come in decides nothing; with the same ids in the same order and the same state of `rng` the choice is the same.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import inf, isfinite
from random import Random
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=Hashable)
Array = NDArray[np.float64]

DIGITS = 9  # measures that agree so far differ only by rounding: a tie
ROUNDING = 1e-9  # of the deviation: a mean that is no greater is 0
_ROWS = 10_000  # rollouts looked at in one go: memory is theirs and not all rollouts'


def at_random(ids: Iterable[T], n: int, rng: Random) -> list[T]:
    """`n` of `ids`, each equally likely; all of them, shuffled, where there are not more. Raises ValueError where n < 0."""
    different = list(dict.fromkeys(ids))
    return most(different, np.zeros(len(different)), n, rng)


def max_variance(grades: Mapping[T, Sequence[float | None]], n: int, rng: Random) -> list[T]:
    """The `n` ids on whose proxy grades the proxy agrees least with itself, by `relative_spread`.

    Ids with fewer than two scored grades come last: nothing is known of the proxy's doubt about them.
    """
    return most(list(grades), relative_spreads(list(grades.values())), n, rng)


def max_disagreement(expert: Mapping[T, float | None], proxy: Mapping[T, float | None], groups: Mapping[T, Hashable], n: int, rng: Random) -> list[T]:
    """The `n` ids of `expert` with the greatest |A_proxy - A_expert|, by `disagreements`.

    Ids without a score from either side come last.
    """
    known = disagreements(expert, proxy, groups)
    return most(list(expert), np.array([known.get(key, -inf) for key in expert]), n, rng)


def relative_spread(grades: Sequence[float | None]) -> float:
    """Standard deviation of the scored grades by their mean, >= 0; unscored ones (None, NaN) are left out.

    The deviation is the sample's (n - 1): with some traces unscored, rollouts have unequal counts, and the population's would favour
    those with more. All equal is 0, whatever the mean. A mean of 0 with spread is infinite; a negative mean counts by its size.
    Fewer than two scored grades: minus infinity, below every known spread.
    """
    return float(relative_spreads([grades])[0])


def relative_spreads(grades: Sequence[Sequence[float | None]] | Array) -> Array:
    """`relative_spread` of each row of grades: lists of any lengths, or an array (rollouts, grades) with NaN for what is unscored."""
    chunks = [_spreads(_table(grades[start : start + _ROWS])) for start in range(0, len(grades), _ROWS)]
    return np.concatenate(chunks) if chunks else np.empty(0)


def spread_by_mean(count: Array, mean: Array, deviation: Array) -> Array:
    """`relative_spread` of rollouts by the number of their scored grades, the mean and the sample standard deviation of these."""
    size = np.abs(mean)
    spread = np.divide(deviation, size, where=size > ROUNDING * deviation, out=np.full(len(size), inf))
    return np.where(count < 2, -inf, np.where(deviation > 0, spread, 0.0))


def _table(grades: Sequence[Sequence[float | None]] | Array) -> Array:
    if isinstance(grades, np.ndarray):
        return grades
    longest = max(map(len, grades))
    return np.array([[*row, *[None] * (longest - len(row))] for row in grades], dtype=float)


def _spreads(table: Array) -> Array:
    scored = np.isfinite(table)
    count = scored.sum(1)
    # From the least of each row, so that grades that are all the same have no deviation at all.
    least = np.where(count > 0, np.min(table, axis=1, initial=inf, where=scored), 0.0)
    above = np.where(scored, table - least[:, None], 0.0)
    mean = above.sum(1) / np.maximum(count, 1)
    squares = (np.where(scored, above - mean[:, None], 0.0) ** 2).sum(1)
    return spread_by_mean(count, least + mean, np.sqrt(squares / np.maximum(count - 1, 1)))


def disagreements(expert: Mapping[T, float | None], proxy: Mapping[T, float | None], groups: Mapping[T, Hashable]) -> dict[T, float]:
    """|A_proxy - A_expert| of every id that both have scored, with A = r - the mean of r over the id's group.

    Both means are taken over the members that both have scored, so that the two advantages speak of the same rollouts. An advantage
    in a group of one is 0, and so is its disagreement. Raises KeyError for a scored id that has no group.
    """
    gaps: dict[Hashable, dict[T, float]] = defaultdict(dict)
    for key, score in expert.items():
        other = proxy.get(key)
        if score is not None and other is not None and isfinite(score) and isfinite(other):
            gaps[groups[key]][key] = other - score
    found: dict[T, float] = {}
    for members in gaps.values():
        middle = statistics.fmean(members.values())
        found.update({key: abs(gap - middle) if len(members) > 1 else 0.0 for key, gap in members.items()})
    return found


def most(ids: Sequence[T], worth: Array, n: int, rng: Random) -> list[T]:
    """The `n` of the different `ids` with the greatest `worth`, one number each. Raises ValueError where n < 0."""
    if n < 0:
        raise ValueError(f"cannot choose {n} of {len(ids)}")
    shuffled = list(range(len(ids)))
    rng.shuffle(shuffled)
    order = np.argsort(-np.round(worth, DIGITS)[shuffled], kind="stable")[:n]
    return [ids[shuffled[i]] for i in order]
