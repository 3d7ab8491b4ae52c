"""How well a proxy agrees with the expert, and what a policy gained: each number with its 95% interval.

"The paper" is Ye & Benton (2026), online natural language feedback; r are the rewards of one prompt's rollouts and A = r - mean(r) their
advantages. Scores are given flat, one per rollout, with the id of each rollout's prompt beside them; None, NaN and infinities are unscored.
Where rollouts come from several steps or runs, make that part of the id: a group is one prompt at one step of one run.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from grading import moments
from grading.bootstrap import Array, Statistic, Table, hierarchical_bootstrap, positions

Scores = Sequence[float | None] | Array
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
    values = _numbers(rewards, groups)
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
    A prompt on which a side does not vary promises nothing and counts as 0; one with fewer than two scored rollouts is left out.
    """
    table, total, note = _scored_by_all(groups, expert, proxy)
    several = table.counts > 1
    note.append(share_of(int((~several).sum()), len(several), "prompts with fewer than 2 scored rollouts"))
    statistic = moments.mean_scaled_covariance if scale else moments.mean_covariance
    # Drawing n rollouts of n anew shrinks a covariance to (n - 1) / n of what it was on average: undone, or the interval would lie too low.
    return _estimate(statistic, [moments.centred(table.only(several))], total, note, replicates, seed, redrawn=partial(statistic, shrunk=True))


def mean_reward(values: Scores, groups: Sequence[Hashable], *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """The mean over all scored rollouts."""
    numbers = _numbers(values, groups)
    scored = np.isfinite(numbers)
    table = Table.of([group for group, there in zip(groups, scored, strict=True) if there], numbers[scored])
    note = [share_of(int((~scored).sum()), len(numbers), "rollouts unscored")]
    return _estimate(moments.mean, [table], len(numbers), note, replicates, seed)


Sample = tuple[Scores, Sequence[Hashable]]


def pgr(*, method: Sample, base: Sample, ceiling: Sample, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """Performance gap recovered (J - J_base) / (J_ceiling - J_base), J being the mean expert reward on the eval split (paper, section 1).

    Each sample is (scores, prompt ids); prompts that are not scored in all three are left out. The bootstrap draws the prompts once for all three.
    Not defined where the gap is not clearly positive, that is where its own 95% interval reaches down to 0.
    """
    tables, prompts = _shared(method, base, ceiling)
    samples, total = sum(int(table.counts.sum()) for table in tables), sum(len(groups) for _, groups in (method, base, ceiling))
    note = [share_of(prompts - len(tables[0].counts), prompts, "prompts not scored in all three")]
    gap = _estimate(moments.gap, tables[1:], 0, [], replicates, seed)
    if gap.value is not None and (gap.low is None or gap.low <= 0):
        interval = "no interval" if gap.low is None else f"{gap.low:.3g} to {gap.high:.3g}"
        reason = f"not defined: the ceiling is {gap.value:.3g} above the base ({interval}), not clearly positive"
        return Estimate(None, samples=samples, left_out=total - samples, note=joined(reason, *note))
    return _estimate(moments.recovered, tables, total, note, replicates, seed)


def _shared(*samples: Sample) -> tuple[list[Table], int]:
    """A table for each sample, of the prompts that are scored in all of them and in the same order; and how many prompts there are in any."""
    rows = [list(zip(_numbers(scores, groups).tolist(), groups, strict=True)) for scores, groups in samples]
    scored = [{group: None for value, group in sample if np.isfinite(value)} for sample in rows]
    shared = {group: i for i, group in enumerate(g for g in scored[0] if all(g in groups for groups in scored))}
    tables = []
    for sample in rows:
        kept = [(shared[group], value) for value, group in sample if group in shared and np.isfinite(value)]
        number, values = (np.array(column) for column in zip(*kept, strict=True)) if kept else (np.empty(0, np.intp), np.empty(0))
        tables.append(Table.arranged(number, len(shared), values))
    return tables, len({group for sample in rows for _, group in sample})


def _estimate(
    statistic: Statistic, tables: list[Table], total: int, note: list[str], replicates: int, seed: int, redrawn: Statistic | None = None
) -> Estimate:
    """The statistic of `tables` with its interval; `total` rollouts were given. `redrawn` is its form for a replicate, where that differs; the
    interval is then moved to have the value at the replicates' mean."""
    samples = sum(int(table.counts.sum()) for table in tables)
    left_out = total - samples
    prompts = len(tables[0].counts)
    if not prompts:
        return Estimate(None, samples=0, left_out=left_out, note=joined("nothing to measure", *note))
    value = float(statistic(*(Table(table.columns[:, None], table.counts[None]) for table in tables))[0])
    if prompts < 2:
        return Estimate(value, samples=samples, left_out=left_out, note=joined(*note, "one prompt only: no interval"))
    drawn = hierarchical_bootstrap(redrawn or statistic, tables, replicates=replicates, seed=seed)
    drawn = drawn[np.isfinite(drawn)]
    if redrawn is not None and len(drawn):
        drawn = drawn + value - drawn.mean()
    return Estimate(value, *percentiles(drawn), samples, left_out, joined(*note))


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


def _numbers(scores: Scores, groups: Sequence[Hashable]) -> Array:
    values = as_array(scores)
    if len(values) != len(groups):
        raise ValueError(f"{len(values)} scores, but prompt ids for {len(groups)}")
    return values


def _scored_by_all(groups: Sequence[Hashable], *sides: Scores) -> tuple[Table, int, list[str]]:
    """The rollouts that all sides scored, by prompt; how many were given; and a note of how many are not scored."""
    scores = np.stack([_numbers(side, groups) for side in sides])
    scored = np.isfinite(scores).all(0)
    number, count = positions(groups)
    return Table.arranged(number[scored], count, *scores[:, scored]), len(groups), [share_of(int((~scored).sum()), len(groups), "rollouts unscored")]


def share_of(count: int, total: int, what: str) -> str:
    """A part of an estimate's note: what was left out, nothing where nothing was."""
    return f"{count} of {total} {what}" if count else ""


def joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
