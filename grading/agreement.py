"""How steady experts are: whether they agree with each other, with themselves, and with a reference over time.

A unit is whatever was scored, as a rule a rollout. None, NaN and infinities are unscored: they are left out and counted. Measures over units take
their 95% interval from drawing the units again (percentiles): ratings stay with their unit, since one drawn twice would agree with itself. Such an
interval is too narrow for few units (normal scores: it holds the truth in 80 to 87% of cases with 10 units, in 87 to 93% with 40). With 0
replicates there is none, and a measure costs next to nothing.
Degenerate input gives an `Estimate` without a value whose note says why.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import scipy  # scipy.stats takes a second to load: it does so where it is first used

from grading.alignment import REPLICATES, Estimate, Scores, as_array, joined, percentiles, share_of
from grading.bootstrap import Array, Statistic, Table, hierarchical_bootstrap
from grading.moments import NOTHING

Rating = tuple[Hashable, Hashable, float | None]  # unit, rater, score
FEWEST_FOR_DRIFT = 8
VERDICTS = 100  # the stretch that drift is given over


def krippendorff_alpha(ratings: Iterable[Rating], *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """Krippendorff's alpha at the interval level (Hayes & Krippendorff 2007): 1 - observed / expected squared difference of two scores.

    1 is perfect agreement, 0 what scores dealt out by chance would show, below 0 is systematic disagreement. It rests on the units that two or
    more raters scored, `samples` in the result; `left_out` are the other units. Of a rater's several scores of a unit the first one counts.
    Not defined for fewer than two such units or where all scores are the same.
    """
    return _agreement(_alpha, _units(ratings), replicates, seed)


def icc(ratings: Iterable[Rating], *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """ICC(1,1), the share of a single score's variance that is the units' (Shrout & Fleiss 1979, case 1: one-way random effects), 1 at most.

    For unequal numbers of ratings, n0 = (N - sum(n_i^2) / N) / (k - 1) stands for the number per unit (Donner 1986, Int. Stat. Rev. 54, 67-82),
    k being the units and N the ratings. It rests on the same ratings as `krippendorff_alpha`, and is not defined where that is not.
    """
    return _agreement(_icc, _units(ratings), replicates, seed)


def repeat_spread(scores: Iterable[tuple[Hashable, float | None]], *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """How far one rater's scores of the same unit lie apart, in score points: sqrt(sum of squares within units / sum(n_i - 1)).

    `scores` are (unit, score); to pool several raters, let the unit name the rater too. `samples` are the units scored twice or more often, and
    `left_out` the others. Not defined where no unit was scored twice. Two scores of one unit differ by less than 2.77 times this in 95% of cases.
    """
    units = _units((unit, i, score) for i, (unit, score) in enumerate(scores))
    return _estimate(_spread, 1.0, units, replicates, seed) if units.scores else _undefined("no unit has two scores", units)


def bias(deviations: Scores) -> Estimate:
    """Mean of a rater's deviations (score - reference, in score points) with its t interval; `samples` says of how many.

    The reference is a gold score or the mean of the others' scores. A positive bias is a rater who gives more than the reference does.
    """
    values = as_array(deviations)
    there = values[np.isfinite(values)]
    n = len(there)
    error = there.std(ddof=1) / np.sqrt(n) if n > 1 else None
    reason = ("nothing to measure", "one verdict only: no interval", "")[min(n, 2)]
    return _of_verdicts(there.mean() if n else None, error, n - 1, values, reason)


def drift(positions: Sequence[float] | Array, deviations: Scores) -> Estimate:
    """How a rater's deviations (score - reference) move as they go on: score points per 100 verdicts, least squares with its t interval.

    `positions` says for each deviation which of the rater's verdicts it was (1st, 2nd, ...), counting those without a reference too. Verdicts and
    not days: what shifts a standard is scoring, and a day may hold none or a hundred. Least squares and not the median of slopes, which is 0 for a
    rater who meets the reference mostly, whatever they do otherwise. Neighbouring verdicts that err alike make the interval too narrow.
    Not defined for fewer than 8 deviations or without spread in their positions. Raises ValueError where the two differ in length or a position
    is not finite.
    """
    values, where = as_array(deviations), np.asarray(positions, dtype=float)
    if len(where) != len(values) or not np.isfinite(where).all():
        raise ValueError(f"{len(values)} deviations need as many finite positions, not {np.isfinite(where).sum()} of {len(where)}")
    there = np.isfinite(values)
    n = int(there.sum())
    if n < FEWEST_FOR_DRIFT:
        return _of_verdicts(None, None, 0, values, f"not defined: {n} deviations, {FEWEST_FOR_DRIFT} are needed")
    if np.ptp(where[there]) == 0:
        return _of_verdicts(None, None, 0, values, "not defined: all verdicts have the same position")
    line = scipy.stats.linregress(where[there], values[there])
    error = np.nan_to_num(line.stderr)  # deviations that are all the same lie on the line: 0, where scipy has NaN
    return _of_verdicts(VERDICTS * line.slope, VERDICTS * error, n - 2, values)


class _Units(NamedTuple):
    scores: list[Array]  # of each unit that has two or more
    given: int  # units, these and the others
    notes: list[str]  # what was left out


def _units(ratings: Iterable[Rating]) -> _Units:
    known: dict[Hashable, dict[Hashable, float]] = {}
    given = unscored = repeats = 0
    for unit, rater, score in ratings:
        of_unit = known.setdefault(unit, {})
        given += 1
        if score is None or not np.isfinite(score):
            unscored += 1
        elif rater in of_unit:
            repeats += 1
        else:
            of_unit[rater] = float(score)
    several = [np.array(list(of_unit.values())) for of_unit in known.values() if len(of_unit) > 1]
    notes = [
        share_of(len(known) - len(several), len(known), "units with fewer than 2 scores"),
        share_of(unscored, given, "ratings unscored"),
        share_of(repeats, given, "ratings repeated by their rater"),
    ]
    return _Units(several, len(known), notes)


def _agreement(statistic: Statistic, units: _Units, replicates: int, seed: int) -> Estimate:
    """A statistic of how the scores vary within units and in all: not defined where there is nothing to tell the two apart."""
    if len(units.scores) < 2:
        return _undefined("fewer than 2 units with 2 scores", units)
    pooled = np.concatenate(units.scores)
    if pooled.std() <= NOTHING * np.abs(pooled).max():
        return _undefined("no variance in the scores", units)
    return _estimate(statistic, float(pooled.std()), units, replicates, seed)


def _undefined(reason: str, units: _Units) -> Estimate:
    return Estimate(None, samples=len(units.scores), left_out=units.given - len(units.scores), note=joined(f"not defined: {reason}", *units.notes))


def _summary(units: list[Array], scale: float) -> Table:
    """What the statistics need of each unit, as if it were one rollout, which is what makes the hierarchical bootstrap draw units as a whole.

    Columns: number of scores, their sum about the mean of all, their sum of squares about the unit's own mean; scores divided by `scale`.
    """
    centre = np.concatenate(units).mean()
    rows = [(len(scores), ((scores - centre) / scale).sum(), (((scores - scores.mean()) / scale) ** 2).sum()) for scores in units]
    return Table(np.array(rows).T[..., None], np.ones(len(units)))


def _sums(table: Table) -> tuple[Array, Array, Array, Array]:
    """Numbers of scores and sums of squares within each unit, (replicates, units); sum of squares between units and in all, (replicates)."""
    n, sums, within = table.columns[..., 0]
    between = np.maximum((sums**2 / n).sum(-1) - sums.sum(-1) ** 2 / n.sum(-1), 0.0)
    return n, within, between, between + within.sum(-1)


def _alpha(table: Table) -> Array:
    # Over ordered pairs of n scores the squared differences add up to 2n times the sum of squares about their mean.
    n, within, _, total = _sums(table)
    observed, expected = (within * n / (n - 1)).sum(-1) / n.sum(-1), total / (n.sum(-1) - 1)
    return 1 - np.divide(observed, expected, where=total > NOTHING, out=np.full_like(total, np.nan))


def _icc(table: Table) -> Array:
    n, within, between, total = _sums(table)
    units, ratings = n.shape[-1], n.sum(-1)
    each = (ratings - (n**2).sum(-1) / ratings) / (units - 1)
    mean_between, mean_within = between / (units - 1), within.sum(-1) / (ratings - units)
    return np.divide(mean_between - mean_within, mean_between + (each - 1) * mean_within, where=total > NOTHING, out=np.full_like(total, np.nan))


def _spread(table: Table) -> Array:
    n, within, _, _ = _sums(table)
    result: Array = np.sqrt(within.sum(-1) / (n - 1).sum(-1))
    return result


def _estimate(statistic: Statistic, scale: float, units: _Units, replicates: int, seed: int) -> Estimate:
    table, samples = _summary(units.scores, scale), len(units.scores)
    value = float(statistic(Table(table.columns[:, None], table.counts[None]))[0])
    if samples < 2 or not replicates:
        reason = "one unit only: no interval" if samples < 2 else ""
        return Estimate(value, samples=samples, left_out=units.given - samples, note=joined(reason, *units.notes))
    # Units that all vary in nothing may be drawn: no agreement there.
    drawn = hierarchical_bootstrap(statistic, [table], replicates=replicates, seed=seed)
    return Estimate(value, *percentiles(drawn), samples, units.given - samples, joined(*units.notes))


def _of_verdicts(value: float | None, error: float | None, freedom: int, values: Array, reason: str = "") -> Estimate:
    """The estimate from those of `values` that are finite, with its t interval where it has a standard error."""
    samples = int(np.isfinite(values).sum())
    left_out = len(values) - samples
    note = joined(reason, share_of(left_out, len(values), "verdicts without a deviation"))
    if value is None or error is None:
        return Estimate(value, samples=samples, left_out=left_out, note=note)
    half = float(scipy.stats.t.ppf(0.975, freedom) * error)
    return Estimate(float(value), float(value) - half, float(value) + half, samples, left_out, note)
