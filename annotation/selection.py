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

T = TypeVar("T", bound=Hashable)

DIGITS = 9  # measures that agree so far differ only by rounding: a tie


def at_random(ids: Iterable[T], n: int, rng: Random) -> list[T]:
    """`n` of `ids`, each equally likely; all of them, shuffled, where there are not more. Raises ValueError where n < 0."""
    return _best(dict.fromkeys(ids, 0.0), n, rng)


def max_variance(grades: Mapping[T, Sequence[float | None]], n: int, rng: Random) -> list[T]:
    """The `n` ids on whose proxy grades the proxy agrees least with itself, by `relative_spread`.

    Ids with fewer than two scored grades come last: nothing is known of the proxy's doubt about them.
    """
    return _best({key: relative_spread(values) for key, values in grades.items()}, n, rng)


def max_disagreement(expert: Mapping[T, float | None], proxy: Mapping[T, float | None], groups: Mapping[T, Hashable], n: int, rng: Random) -> list[T]:
    """The `n` ids of `expert` with the greatest |A_proxy - A_expert|, by `disagreements`.

    Ids without a score from either side come last.
    """
    known = disagreements(expert, proxy, groups)
    return _best({key: known.get(key, -inf) for key in expert}, n, rng)


def relative_spread(grades: Sequence[float | None]) -> float:
    """Standard deviation of the scored grades by their mean, >= 0; unscored ones (None, NaN) are left out.

    The deviation is the sample's (n - 1): with some traces unscored, rollouts have unequal counts, and the population's would favour
    those with more. All equal is 0, whatever the mean. A mean of 0 with spread is infinite; a negative mean counts by its size.
    Fewer than two scored grades: minus infinity, below every known spread.
    """
    scored = [grade for grade in grades if grade is not None and isfinite(grade)]
    if len(scored) < 2:
        return -inf
    spread = statistics.stdev(scored)
    if spread == 0:
        return 0.0
    mean = abs(statistics.fmean(scored))
    return spread / mean if mean else inf


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


def _best(worth: Mapping[T, float], n: int, rng: Random) -> list[T]:
    if n < 0:
        raise ValueError(f"cannot choose {n} of {len(worth)}")
    shuffled = list(worth)
    rng.shuffle(shuffled)
    return sorted(shuffled, key=lambda key: round(worth[key], DIGITS) if isfinite(worth[key]) else worth[key], reverse=True)[:n]
