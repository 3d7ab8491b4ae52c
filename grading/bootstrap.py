"""The hierarchical bootstrap: prompts are drawn again, and then rollouts within each drawn prompt (paper, section 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]
_CHUNK = 200_000  # rollouts drawn at a time: arrays of this size stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Table:
    """Rollouts by prompt: `columns` has shape (columns, ..., prompts, places) with zeros in places that no rollout fills.

    `counts` (..., prompts) says how many are filled. The dots are nothing in data and the replicates in what the bootstrap draws from it.
    """

    columns: Array
    counts: Array

    @classmethod
    def of(cls, groups: Sequence[Hashable], *columns: Array) -> Self:
        """The rows of equally long `columns` by the prompt that `groups` names for each, prompts in order of appearance."""
        return cls.arranged(*positions(groups), *columns)

    @classmethod
    def arranged(cls, prompt: NDArray[np.intp], prompts: int, *columns: Array) -> Self:
        """The rows of `columns` where `prompt` holds the number (below `prompts`) of each row's prompt."""
        counts = np.bincount(prompt, minlength=prompts)
        order = np.argsort(prompt, kind="stable")
        place = np.arange(len(prompt)) - np.repeat(np.cumsum(counts) - counts, counts)
        packed = np.zeros((len(columns), prompts, int(counts.max(initial=0))))
        for target, column in zip(packed, columns, strict=True):
            target[prompt[order], place] = column[order]
        return cls(packed, counts.astype(float))

    def only(self, keep: NDArray[np.bool_]) -> Table:
        """The prompts that `keep` marks."""
        return Table(self.columns[:, keep], self.counts[keep])


Statistic = Callable[..., Array]  # (*tables) -> one number per replicate, NaN where it is not defined


def positions(groups: Sequence[Hashable]) -> tuple[NDArray[np.intp], int]:
    """The number of each row's group, groups counted in order of appearance, and how many there are."""
    known: dict[Hashable, int] = {}
    numbers = [known.setdefault(group, len(known)) for group in groups]
    return np.array(numbers, dtype=np.intp), len(known)


def hierarchical_bootstrap(statistic: Statistic, tables: Sequence[Table], *, replicates: int = 2000, seed: int = 0, rollouts: bool = True) -> Array:
    """`statistic(*tables)` on `replicates` redrawn versions of `tables`, which hold the same prompts in the same order.

    Prompts are drawn once for all tables, since they were asked the same ones; rollouts in each by itself, or, without `rollouts`, as they are.
    The same seed gives the same numbers. What a statistic returns for a replicate may have axes of its own, after the replicates'.
    """
    rng = np.random.default_rng(seed)
    prompts = len(tables[0].counts)
    places = sum(table.columns.shape[-1] for table in tables)
    chunk = max(1, _CHUNK // max(1, prompts * places))
    sizes = [min(chunk, replicates - start) for start in range(0, replicates, chunk)]
    return np.concatenate([statistic(*_draw(tables, size, rng, rollouts)) for size in sizes])


def calibrated(drawn: Array, whole: Array, prompts: int) -> Array:
    """Replicates of the hierarchical bootstrap over `prompts` prompts, along the last axis, moved and stretched so that their percentiles are a
    95% interval. `whole` are replicates with prompts drawn whole: they give the middle and the width.

    How rollouts differ is in the spread of the prompts already, so redrawing them too counts it twice (Davison & Hinkley 1997, section 3.8), and
    duplicates among few rollouts shift a correlation or a covariance: as they are drawn, percentiles hold an alignment in 99% of cases and lie half
    as far apart again as they need to. Few prompts vary too little in turn: the width gets their factor sqrt(n / (n - 1)) and the quantile of t.
    Nothing ends up outside what whole prompts gave. NaN, where a statistic is not defined, stays.
    """
    if not (np.isfinite(drawn).any() and np.isfinite(whole).any()):
        return np.full_like(drawn, np.nan)
    low, middle, high = np.nanquantile(drawn, [0.025, 0.5, 0.975], axis=-1, keepdims=True)
    lowest, aim, highest = np.nanquantile(whole, [0.025, 0.5, 0.975], axis=-1, keepdims=True)
    few = np.sqrt(prompts / (prompts - 1)) * student_factor(prompts - 1)
    stretch = few * np.divide(highest - lowest, high - low, where=high > low, out=np.zeros_like(high))
    result: Array = np.clip(aim + stretch * (drawn - middle), np.nanmin(whole, axis=-1, keepdims=True), np.nanmax(whole, axis=-1, keepdims=True))
    return result


def student_factor(freedom: int) -> float:
    """How much wider a 95% interval is by Student's t with `freedom` degrees than by the normal distribution."""
    return float(scipy.special.stdtrit(freedom, 0.975) / scipy.special.ndtri(0.975))


def _draw(tables: Sequence[Table], size: int, rng: np.random.Generator, rollouts: bool) -> Iterator[Table]:
    prompts = len(tables[0].counts)
    drawn = rng.integers(prompts, size=(size, prompts), dtype=np.int32)
    for table in tables:
        counts, places = table.counts[drawn], table.columns.shape[-1]
        if not rollouts:
            yield Table(table.columns.take(drawn, axis=1), counts)
            continue
        ragged = bool((table.counts != places).any())
        if ragged:
            place = (rng.random((size, prompts, places), dtype=np.float32) * counts[..., None].astype(np.float32)).astype(np.int32)
            # Single precision may round up to the count itself; and a prompt with few rollouts leaves its last places empty.
            place = np.minimum(place, counts[..., None].astype(np.int32) - 1)
        else:
            place = rng.integers(places, size=(size, prompts, places), dtype=np.int32)
        flat = place + (drawn * places)[..., None]
        columns = table.columns.reshape(len(table.columns), -1).take(flat, axis=1)
        if ragged:
            columns *= np.arange(places) < counts[..., None]
        yield Table(columns, counts)
