from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, sem

from grading.alignment import mean_reward
from grading.control import controlled_reward
from tests.grading.data import numbers, score, simulate

FEW = {"replicates": 50}


def asked(expert, n, seed=0):
    """The scores with those of all but `n` random rollouts taken away."""
    keep = np.random.default_rng(seed).permutation(len(expert)) < n
    return np.where(keep, expert, np.nan)


def test_by_hand():
    # asked: E 10, 20, 60 and P 1, 2, 3; not asked: P 6, so elsewhere is 6, and a quarter of the rollouts are there
    # slopes of the other two: (60 - 20) / 1 = 40, (60 - 10) / 2 = 25, (20 - 10) / 1 = 10
    # 30 - (40 (1 - 6) + 25 (2 - 6) + 10 (3 - 6)) / 3 / 4 = 30 + 330 / 12
    result = controlled_reward([10, 20, 60, None], [1, 2, 3, 6], range(4))
    assert result.with_proxy.value == pytest.approx(30 + 330 / 12)
    assert result.alone.value == 30
    assert (result.with_proxy.samples, result.with_proxy.left_out) == (3, 0)


scores = st.lists(st.tuples(score, score), min_size=4, max_size=7)


@settings(deadline=None, max_examples=40)
@given(scores=scores, n=st.integers(1, 4))
def test_it_has_no_bias_whatever_the_proxy(scores, n):
    """Over all choices of n rollouts, the estimates average to the mean of all: exactly."""
    expert, proxy = np.array(scores).T
    n = min(n, len(expert))
    chosen = [np.isin(np.arange(len(expert)), some) for some in combinations(range(len(expert)), n)]
    values = [controlled_reward(np.where(some, expert, np.nan), proxy, [0] * len(expert)).with_proxy.value for some in chosen]
    assert np.mean(values) == pytest.approx(expert.mean(), abs=1e-6 * max(1.0, np.abs(values).max()))


def test_a_proxy_that_knows_the_expert_up_to_a_constant_stands_in_for_all_verdicts():
    expert, _, ids = simulate(np.random.default_rng(0), 2000, 1, topic=0.0)
    result = controlled_reward(asked(expert, 500), expert / 2 - 7, ids)
    assert result.with_proxy.value == pytest.approx(expert.mean())
    assert result.needed == pytest.approx(2000, rel=0.2)
    assert result.saving == pytest.approx(result.needed - 500)


def test_the_saving_is_what_the_correlation_promises():
    """Variance falls to 1 - rho^2 (1 - n / N) of the plain mean's (Lavenberg & Welch 1981, Management Science 27, with N finite)."""
    expert, proxy, ids = simulate(np.random.default_rng(1), 2000, 1, rho=0.8, topic=0.0)
    result = controlled_reward(asked(expert, 400), proxy, ids)
    assert result.needed == pytest.approx(400 / (1 - pearsonr(expert, proxy).statistic ** 2 * 0.8), rel=0.15)


def test_alone_it_is_the_mean_of_the_verdicts_with_its_standard_error():
    expert, proxy, ids = simulate(np.random.default_rng(2), 300, 1)
    result = controlled_reward(expert, proxy, ids)  # all asked: nothing to learn from the proxy
    assert numbers(result.with_proxy) == numbers(result.alone) == pytest.approx(numbers(mean_reward(expert, ids)))
    assert result.error_alone == pytest.approx(sem(expert), rel=0.05)
    assert result.needed == pytest.approx(300)
    assert result.saving == pytest.approx(0)


def test_a_proxy_that_knows_nothing_costs_little():
    expert, _, ids = simulate(np.random.default_rng(3), 100, 4)
    result = controlled_reward(asked(expert, 100), np.random.default_rng(4).normal(size=400), ids)
    assert 90 < result.needed < 110


def test_what_cannot_be_told_is_said():
    nothing = controlled_reward([None, None], [1, 2], "ab")
    assert (nothing.with_proxy.value, nothing.needed, nothing.saving) == (None, None, None)
    assert nothing.with_proxy.note == "nothing to measure"
    few = controlled_reward([3, 5, None, 8], [1, 2, 9, None], "abcd")
    assert few.with_proxy.value == few.alone.value == 4  # two verdicts tell no slope without the one they correct
    assert few.with_proxy.note == "1 of 4 rollouts without a score of the proxy"
    assert controlled_reward([3, 5, None], [1, 2, 9], "aaa").with_proxy.note == "one prompt only: no interval"
    flat = controlled_reward([3, 5, 7, None], [2, 2, 2, 9], "abcd", **FEW)
    assert flat.with_proxy.value == 5
    with pytest.raises(ValueError, match="2 scores"):
        controlled_reward([1, 2], [1, 2], "a")


@settings(deadline=None, max_examples=30)
@given(shift=st.floats(-100, 100), factor=st.floats(0.1, 10), other=st.floats(-10, 10).filter(lambda x: abs(x) > 0.1), seed=st.integers(0, 5))
def test_units_do_not_matter(shift, factor, other, seed):
    expert, proxy, ids = simulate(np.random.default_rng(seed), 12, 4)
    some = asked(expert, 20, seed)
    one = controlled_reward(some, proxy, ids, **FEW)
    scaled = controlled_reward(some * factor + shift, proxy * other - shift, ids, **FEW)
    assert numbers(scaled.with_proxy) == pytest.approx([x * factor + shift for x in numbers(one.with_proxy)], rel=1e-6, abs=1e-6)
    assert scaled.needed == pytest.approx(one.needed)


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(24)), st.integers(0, 5))
def test_the_order_of_prompts_and_rollouts_does_not_matter(order, seed):
    expert, proxy, ids = simulate(np.random.default_rng(seed), 6, 4)
    some = asked(expert, 12, seed)
    one, other = (controlled_reward(some[rows], proxy[rows], ids[rows], **FEW) for rows in (np.arange(24), np.array(order)))
    assert other.with_proxy.value == pytest.approx(one.with_proxy.value)
    assert other.alone.value == pytest.approx(one.alone.value)
