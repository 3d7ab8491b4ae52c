"""Scores of rollouts by prompt, for the tests of measures."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from grading.alignment import Estimate


def flat(*groups):
    """Groups of scores as (scores, prompt ids)."""
    return [score for group in groups for score in group], [i for i, group in enumerate(groups) for _ in group]


def numbers(estimate: Estimate) -> tuple[float, float, float]:
    """Value, low and high of an estimate that must have them."""
    assert estimate.value is not None, estimate.note
    assert estimate.low is not None, estimate.note
    assert estimate.high is not None, estimate.note
    return estimate.value, estimate.low, estimate.high


def simulate(rng, prompts=40, rollouts=8, rho=0.7, topic=5.0):
    """Expert and proxy scores with correlation `rho` within each prompt and prompts of their own level, and the ids: three arrays."""
    level = rng.normal(0, topic, (prompts, 1))
    agreed, own = rng.normal(size=(2, prompts, rollouts))
    expert, proxy = 50 + level + 10 * agreed, 50 + level + 10 * (rho * agreed + np.sqrt(1 - rho**2) * own)
    return expert.ravel(), proxy.ravel(), np.repeat(np.arange(prompts), rollouts)


# Rounded, so that ties and groups without variance are common.
score = st.floats(-100, 100).map(lambda x: round(x, 1))
row = st.tuples(score | st.none(), score | st.none(), st.integers(0, 5))
rows = st.lists(row, min_size=1, max_size=60)
