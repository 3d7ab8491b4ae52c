"""How well a proxy agrees with the expert, and the mean reward: each number with its 95% interval.

"The paper" is Ye & Benton (2026), online natural language feedback; r are the rewards of one prompt's rollouts and A = r - mean(r) their
advantages. Scores are given flat, one per rollout, with the id of each rollout's prompt beside them; None, NaN and infinities are unscored.
Where rollouts come from several steps or runs, make that part of the id: a group is one prompt at one step of one run.
An interval is for what the number would be on average over other prompts with as many rollouts each. With few rollouts that differs from
endlessly many: a correlation of n is smaller by about (1 - r^2) / 2n of itself, a mean product of advantages by 1 / n.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from grading import moments
from grading.bootstrap import Array, Statistic, Table, calibrated, hierarchical_bootstrap, positions

Scores = Sequence[float | None] | Array
Sample = tuple[Scores, Sequence[Hashable]]  # scores of rollouts and their prompt ids
REPLICATES = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number with its 95% interval (hierarchical bootstrap).

    `value` is None where it is not defined, and `low` and `high` where there is too little data for an interval; `note` says why, and what was
    left out. `samples` are the rollouts that the value rests on and `left_out` the others that were given.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    samples: int = 0
    left_out: int = 0
    note: str = ""


def advantages(rewards: Scores, groups: Sequence[Hashable], *, scale: bool = False) -> Array:
    """A = r - mean(r) for each rollout within its group; NaN for the unscored ones, which do not enter the mean.

    With `scale`, divided by the group's standard deviation (n - 1, as in GRPO); a group without variance has advantage 0.
    """
    values = numbers(rewards, groups)
    scored = np.isfinite(values)
    number, count = positions(groups)
    table = Table.arranged(number[scored], count, values[scored])
    centred = moments.centred(table)
    advantage = np.full(len(values), np.nan)
    n = np.maximum(table.counts, 1)
    advantage[scored] = values[scored] - (table.columns[0].sum(-1) / n)[number[scored]]
    if scale:
        deviation = np.sqrt((centred.columns[0] ** 2).sum(-1) / np.maximum(table.counts - 1, 1))
        advantage[scored] = np.divide(
            advantage[scored], deviation[number[scored]], where=moments.varies(table)[number[scored]], out=np.zeros(scored.sum())
        )
    return advantage


def alignment(expert: Scores, proxy: Scores, groups: Sequence[Hashable], *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """Mean over prompts of corr(A_expert, A_proxy) within the prompt (paper, section 5.1), -1..1.

    Prompts where either side has no variance are left out and counted; so they are within each replicate.
    """
    table, total, note = _scored_by_all(groups, expert, proxy)
    varied = moments.varies(table)
    note.append(share_of(int((~varied).sum()), len(varied), "prompts without variance"))
    return _estimate(moments.mean_correlation, [moments.standardised(table.only(varied))], total, note, replicates, seed)


def alignment_change(
    expert: Scores, before: Scores, after: Scores, groups: Sequence[Hashable], *, replicates: int = REPLICATES, seed: int = 0
) -> Estimate:
    """`alignment` of the proxy after a realignment less that of the proxy before it, on the same rollouts, -2..2.

    Most of what makes an alignment uncertain (which prompts, which rollouts) is the same on both sides and drops out, so this tells sooner
    than two intervals whether realigning helped. Prompts where any of the three has no variance are left out and counted.
    """
    table, total, note = _scored_by_all(groups, expert, before, after)
    varied = moments.varies(table)
    note.append(share_of(int((~varied).sum()), len(varied), "prompts without variance"))
    return _estimate(moments.correlation_change, [moments.standardised(table.only(varied))], total, note, replicates, seed)


def raw_correlation(expert: Scores, proxy: Scores, groups: Sequence[Hashable], *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """Pearson correlation of the rewards of all prompts pooled (paper, section 5.1), -1..1.

    A proxy that only knows which prompts do well has a high one and is no use to RL: read it beside `alignment`.
    """
    table, total, note = _scored_by_all(groups, expert, proxy)
    table = moments.pooled_standard(table.only(table.counts > 0))
    if not table.columns.any():
        return Estimate(None, left_out=total, note=joined("no variance in the scores", *note))
    return _estimate(moments.pooled_correlation, [table], total, note, replicates, seed)


def predicted_gain(
    expert: Scores, proxy: Scores, groups: Sequence[Hashable], *, scale: bool = False, replicates: int = REPLICATES, seed: int = 0
) -> Estimate:
    """Mean over prompts of mean(A_expert * A_proxy): the change in expert reward that RL on the proxy promises, to first order and per unit of
    step size (paper, section 5.1; too hopeful, section B.3).

    With `scale` the proxy's advantages are divided by their group's standard deviation, as GRPO does: expert points, comparable between proxies.
    A prompt on which a side does not vary promises nothing and counts as 0; one with fewer than two scored rollouts is left out. Products of
    advantages are skewed: with 30 prompts in groups of 4 the interval holds the truth in 91% of cases, with 60 in 94%.
    """
    table, total, note = _scored_by_all(groups, expert, proxy)
    several = table.counts > 1
    note.append(share_of(int((~several).sum()), len(several), "prompts with fewer than 2 scored rollouts"))
    statistic = moments.mean_scaled_covariance if scale else moments.mean_covariance
    return _estimate(statistic, [moments.centred(table.only(several))], total, note, replicates, seed)


def mean_reward(values: Scores, groups: Sequence[Hashable], *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """The mean over all scored rollouts."""
    found = numbers(values, groups)
    scored = np.isfinite(found)
    table = Table.of([group for group, there in zip(groups, scored, strict=True) if there], found[scored])
    note = [share_of(int((~scored).sum()), len(found), "rollouts unscored")]
    return _estimate(moments.mean, [table], len(found), note, replicates, seed)


def _estimate(statistic: Statistic, tables: list[Table], total: int, note: list[str], replicates: int, seed: int) -> Estimate:
    """The statistic of `tables` with its interval; `total` rollouts were given."""
    samples = sum(int(table.counts.sum()) for table in tables)
    left_out = total - samples
    prompts = len(tables[0].counts)
    if not prompts:
        return Estimate(None, samples=0, left_out=left_out, note=joined("nothing to measure", *note))
    value = float(statistic(*(Table(table.columns[:, None], table.counts[None]) for table in tables))[0])
    if prompts < 2:
        return Estimate(value, samples=samples, left_out=left_out, note=joined(*note, "one prompt only: no interval"))
    drawn, whole = (hierarchical_bootstrap(statistic, tables, replicates=replicates, seed=seed, rollouts=rollouts) for rollouts in (True, False))
    return Estimate(value, *percentiles(calibrated(drawn, whole, prompts)), samples, left_out, joined(*note))


def percentiles(drawn: Array) -> tuple[float | None, float | None]:
    """The 95% interval of a statistic by its value in each replicate; replicates in which it is not defined (NaN) do not count."""
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return None, None
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def as_array(scores: Scores) -> Array:
    """The scores as numbers; None, which is unscored, as NaN."""
    return np.array([np.nan if score is None else score for score in scores], dtype=float)


def numbers(scores: Scores, groups: Sequence[Hashable]) -> Array:
    """`as_array`, once there are as many prompt ids as scores; ValueError where there are not."""
    values = as_array(scores)
    if len(values) != len(groups):
        raise ValueError(f"{len(values)} scores, but prompt ids for {len(groups)}")
    return values


def _scored_by_all(groups: Sequence[Hashable], *sides: Scores) -> tuple[Table, int, list[str]]:
    """The rollouts that all sides scored, by prompt; how many were given; and a note of how many are not scored."""
    scores = np.stack([numbers(side, groups) for side in sides])
    scored = np.isfinite(scores).all(0)
    number, count = positions(groups)
    return Table.arranged(number[scored], count, *scores[:, scored]), len(groups), [share_of(int((~scored).sum()), len(groups), "rollouts unscored")]


def share_of(count: int, total: int, what: str) -> str:
    """A part of an estimate's note: what was left out, nothing where nothing was."""
    return f"{count} of {total} {what}" if count else ""


def joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
