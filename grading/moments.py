"""Numbers of one table of rollouts, or of all its replicates at once: what the measures in `grading.alignment` and their intervals are made of."""

from __future__ import annotations

import numpy as np

from grading.bootstrap import Array, Table

NOTHING = 1e-9  # variance relative to the data's own scale that is rounding, not variance


def filled(table: Table) -> np.ndarray:
    return np.arange(table.columns.shape[-1]) < table.counts[..., None]


def centred(table: Table) -> Table:
    means = table.columns.sum(-1) / np.maximum(table.counts, 1)
    return Table((table.columns - means[..., None]) * filled(table), table.counts)


def deviations(table: Table) -> Array:
    """Population standard deviations, (columns, prompts)."""
    result: Array = np.sqrt((centred(table).columns ** 2).sum(-1) / np.maximum(table.counts, 1))
    return result


def varies(table: Table) -> np.ndarray:
    """The prompts on which all columns vary by more than rounding."""
    result: np.ndarray = (deviations(table) > NOTHING * np.abs(table.columns).max(-1, initial=0.0)).all(0)
    return result


def standardised(table: Table) -> Table:
    return Table(centred(table).columns / deviations(table)[..., None], table.counts)


def pooled_standard(table: Table) -> Table:
    """Each column with mean 0 and variance 1 over all rollouts; all 0 where a column does not vary."""
    there, n = filled(table), max(1.0, float(table.counts.sum()))
    columns = (table.columns - table.columns.sum((-2, -1), keepdims=True) / n) * there
    deviation = np.sqrt((columns**2).sum((-2, -1)) / n)
    varied = deviation > NOTHING * np.abs(table.columns).max((-2, -1), initial=0.0)
    return Table(columns / deviation[:, None, None] if varied.all() else np.zeros_like(columns), table.counts)


def moments(table: Table) -> tuple[Array, Array, Array]:
    """Variance of the expert, variance of the proxy and covariance within each prompt. Data centred beforehand keep this exact enough."""
    n = np.maximum(table.counts, 1)
    x, y = table.columns
    mean_x, mean_y = x.sum(-1) / n, y.sum(-1) / n
    xx, yy, xy = (np.einsum("...k,...k->...", a, b) / n for a, b in ((x, x), (y, y), (x, y)))
    return xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y


def mean_correlation(table: Table) -> Array:
    variance_x, variance_y, covariance = moments(table)
    both = variance_x * variance_y
    defined = np.minimum(variance_x, variance_y) > NOTHING
    correlation = np.divide(covariance, np.sqrt(np.abs(both)), where=defined, out=np.zeros_like(both))
    how_many = defined.sum(-1)
    return np.where(how_many > 0, correlation.sum(-1) / np.maximum(how_many, 1), np.nan)


def correlation_change(table: Table) -> Array:
    """How much better the third column goes with the first than the second does: the difference of their mean correlations."""
    before, after = (Table(table.columns[[0, i]], table.counts) for i in (1, 2))
    result: Array = mean_correlation(after) - mean_correlation(before)
    return result


def pooled_correlation(table: Table) -> Array:
    shape = table.counts.shape[:-1]
    pooled = Table(table.columns.reshape(2, *shape, -1), table.counts.sum(-1))
    variance_x, variance_y, covariance = moments(pooled)
    defined = np.minimum(variance_x, variance_y) > NOTHING
    result: Array = np.divide(covariance, np.sqrt(np.abs(variance_x * variance_y)), where=defined, out=np.full(shape, np.nan))
    return result


def mean_covariance(table: Table) -> Array:
    result: Array = moments(table)[2].mean(-1)
    return result


def mean_scaled_covariance(table: Table) -> Array:
    _, variance, covariance = moments(table)
    # As in `advantages`: the standard deviation with n - 1.
    deviation = np.sqrt(np.abs(variance) * table.counts / (table.counts - 1))
    varies = deviation > 1e-6 * np.abs(table.columns[1]).max(axis=(-2, -1), initial=0.0)[..., None]
    result: Array = np.divide(covariance, deviation, where=varies, out=np.zeros_like(covariance)).mean(-1)
    return result


def mean(table: Table) -> Array:
    result: Array = table.columns[0].sum((-2, -1)) / table.counts.sum(-1)
    return result
