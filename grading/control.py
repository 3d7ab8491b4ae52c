"""The expert's mean reward from fewer verdicts: the proxy's scores of many rollouts as a control variate for the expert's of a few.

The proxy scores all N rollouts of a look, the expert n of them, chosen at random. Where those n happened to be ones that the proxy rates high, the
expert's mean is corrected downwards, by b for each point: mean(E) - b (mean(P on n) - mean(P on N)), b being the slope of the expert's scores on the
proxy's. A proxy that errs does no harm: a constant error cancels, and the less it goes with the expert, the smaller b is.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from grading.alignment import REPLICATES, Estimate, Scores, joined, numbers, percentiles, share_of
from grading.bootstrap import Array, Table, calibrated, hierarchical_bootstrap, positions
from grading.moments import NOTHING

FEWEST = 8
"""Verdicts below which no slope is told. Simulated with 4 scores of the proxy for each verdict: from 8 on, a proxy that knows nothing widens the
error by 13% at most, and one that goes with the expert at 0.5 or more narrows it; at 4 even one at 0.8 widens it by a third, at 3 it has no limit."""


@dataclass(frozen=True, slots=True)
class Controlled:
    """The expert's mean reward `with_proxy` and by the verdicts `alone`, in score points; their standard errors (None where there is no interval).

    `samples` of both are the n verdicts.
    """

    with_proxy: Estimate
    alone: Estimate
    error: float | None = None
    error_alone: float | None = None

    @property
    def needed(self) -> float | None:
        """How many verdicts the mean of verdicts alone would need for the same standard error, which shrinks with the root of their number."""
        return self.alone.samples * (self.error_alone / self.error) ** 2 if self.error and self.error_alone else None

    @property
    def saving(self) -> float | None:
        """Verdicts that the proxy's scores stood in for: `needed` less those that were given. Below 0 where the proxy was no help."""
        return None if self.needed is None else self.needed - self.alone.samples


def controlled_reward(expert: Scores, proxy: Scores, groups: Sequence[Hashable], *, replicates: int = REPLICATES, seed: int = 0) -> Controlled:
    """The expert's mean reward over all rollouts that the proxy scored, from the verdicts on some of them; groups are the prompts.

    `expert` is None for rollouts that the expert was not asked about. Rollouts without a score of the proxy are left out of both.
    Each verdict is corrected with the slope b of the other verdicts (leave one out), by how far its P lies from the mean P of the rollouts that were
    not asked about. Given the others, a rollout asked about at random might as well have been any of those: so the correction is 0 on average, and
    the estimate without bias, however few verdicts there are and whatever the proxy. With one b for all it would be the formula above, and biased by
    the order of 1 / n.
    Fewer than `FEWEST` verdicts, or a proxy that does not vary on them, have b = 0.
    """
    verdicts, scores = numbers(expert, groups), numbers(proxy, groups)
    there = np.isfinite(scores)
    asked = there & np.isfinite(verdicts)
    n, left_out = int(asked.sum()), int((~there).sum())
    notes = [share_of(left_out, len(scores), "rollouts without a score of the proxy")]
    if not n:
        nothing = Estimate(None, left_out=left_out, note=joined("nothing to measure", *notes))
        return Controlled(nothing, nothing)
    if n < FEWEST:
        notes.append(f"{n} verdicts: a slope on the proxy's scores needs {FEWEST}")
        scores = np.where(there, 0.0, np.nan)  # for the replicates too, of which some have more verdicts
    middle, proxy_middle = verdicts[asked].mean(), scores[there].mean()
    number, count = positions([group for group, scored in zip(groups, there, strict=True) if scored])
    columns = np.where(asked, verdicts - middle, 0.0)[there], scores[there] - proxy_middle, asked[there].astype(float)
    table = Table.arranged(number, count, *columns)
    value, alone = _means(Table(table.columns[:, None], table.counts[None]))[0] + middle
    if count < 2:
        notes.append("one prompt only: no interval")
        single = [Estimate(float(v), samples=n, left_out=left_out, note=joined(*notes)) for v in (value, alone)]
        return Controlled(single[0], single[1])
    drawn, whole = (
        hierarchical_bootstrap(_means, [table], replicates=replicates, seed=seed, rollouts=rollouts).T + middle for rollouts in (True, False)
    )
    estimates = [
        Estimate(float(v), *percentiles(one), n, left_out, joined(*notes))
        for v, one in zip((value, alone), calibrated(drawn, whole, count), strict=True)
    ]
    errors = np.nanstd(whole, axis=1) * np.sqrt(count / (count - 1))
    return Controlled(estimates[0], estimates[1], float(errors[0]), float(errors[1]))


def _means(table: Table) -> Array:
    """(replicates, 2): the controlled mean and the plain one. Columns: the expert's score (0 where not asked), the proxy's, 1 where asked."""
    e, p, asked = table.columns.reshape(3, len(table.counts), -1)
    n, rest = asked.sum(-1), table.counts.sum(-1) - asked.sum(-1)
    on_asked = p * asked
    sums = [column.sum(-1, keepdims=True) for column in (e, on_asked, e * on_asked, on_asked**2)]
    others = np.maximum(n - 1, 1)[:, None]
    sum_e, sum_p, sum_ep, sum_pp = (total - own for total, own in zip(sums, (e, on_asked, e * on_asked, on_asked**2), strict=True))
    variance = sum_pp - sum_p**2 / others
    told = (variance > NOTHING * sum_pp) & (n >= FEWEST)[:, None]
    slope = np.divide(sum_ep - sum_e * sum_p / others, variance, where=told, out=np.zeros_like(variance))
    elsewhere = (p.sum(-1) - sums[1][:, 0]) / np.maximum(rest, 1)
    correction = (asked * slope * (p - elsewhere[:, None])).sum(-1) * rest / (n + rest)
    plain, corrected = (np.divide(total, n, where=n > 0, out=np.full_like(n, np.nan)) for total in (sums[0][:, 0], sums[0][:, 0] - correction))
    return np.stack([corrected, plain], -1)
