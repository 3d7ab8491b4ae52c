from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grading.alignment import advantages, predicted_gain
from tests.grading.data import flat, numbers, rows, simulate


def test_it_is_the_mean_over_prompts_of_the_mean_product_of_advantages():
    expert, ids = flat([1, 2, 3], [4, 8])
    proxy, _ = flat([10, 10, 40], [1, 0])
    # advantages (-1, 0, 1) x (-10, -10, 20): (10 + 0 + 20) / 3 = 10; (-2, 2) x (.5, -.5): (-1 - 1) / 2 = -1; (10 - 1) / 2 = 4.5
    assert predicted_gain(expert, proxy, ids).value == pytest.approx(4.5)


def test_scaled_the_proxy_is_in_standard_deviations_as_in_grpo():
    expert, ids = flat([1, 2, 3], [10, 30])
    proxy, _ = flat([5, 7, 9], [0, 400])
    # (-1, 0, 1) x (-1, 0, 1): 2 / 3; (-10, 10) x (-1, 1) / sqrt(2): 7.0711; their mean 3.8689
    assert predicted_gain(expert, proxy, ids, scale=True).value == pytest.approx((2 / 3 + 10 / 2**0.5) / 2)


def test_a_prompt_that_does_not_vary_promises_nothing_and_one_rollout_says_nothing():
    expert, ids = flat([1, 2, 3], [5, 5], [9], [1, None])
    proxy, _ = flat([1, 2, 3], [1, 2], [1], [1, 2])
    # 2/3 and 0: mean 1/3
    for scale in (False, True):
        result = predicted_gain(expert, proxy, ids, scale=scale)
        assert result.value == pytest.approx(1 / 3)
        assert (result.samples, result.left_out) == (5, 3)
        assert result.note == "1 of 8 rollouts unscored; 2 of 4 prompts with fewer than 2 scored rollouts"


@given(rows=rows, scale=st.booleans())
def test_it_is_what_the_advantages_say(rows, scale):
    both = [row for row in rows if row[0] is not None and row[1] is not None]
    expert, proxy, ids = zip(*both, strict=True) if both else ((), (), ())
    products = advantages(expert, ids) * advantages(proxy, ids, scale=scale)
    by_prompt = [products[np.array(ids) == i].mean() for i in set(ids) if ids.count(i) > 1]
    result = predicted_gain(*zip(*rows, strict=True), scale=scale, replicates=20)
    assert result.value == (pytest.approx(np.mean(by_prompt), abs=1e-7) if by_prompt else None)


@pytest.mark.parametrize("scale", [False, True])
def test_its_interval_lies_around_it(scale):
    """Redrawn groups have duplicates and so smaller covariances; uncorrected, the interval would lie below the value for small groups."""
    for rollouts in (2, 3, 8):
        expert, proxy, ids = simulate(np.random.default_rng(2), prompts=200, rollouts=rollouts)
        value, low, high = numbers(predicted_gain(expert, proxy, ids, scale=scale))
        assert low + (high - low) / 5 < value < high - (high - low) / 5
