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


ARMS = {"base": 40.0, "ceiling": 80.0, "method": 70.0}


def arms(prompts=60, rollouts=8, seed=0, noise=10.0, level=None, **means):
    """Samples of method, base and ceiling (scores, prompt ids). Prompts differ in level, by the same in all three; `level` is the seed of that."""
    rng = np.random.default_rng(seed)
    levels = (rng if level is None else np.random.default_rng(level)).normal(0, 15, (prompts, 1))
    ids = np.repeat(np.arange(prompts), rollouts).tolist()
    return {name: ((mean + levels + rng.normal(0, noise, (prompts, rollouts))).ravel(), ids) for name, mean in (ARMS | means).items()}


# Rounded, so that ties and groups without variance are common.
score = st.floats(-100, 100).map(lambda x: round(x, 1))
row = st.tuples(score | st.none(), score | st.none(), st.integers(0, 5))
rows = st.lists(row, min_size=1, max_size=60)
