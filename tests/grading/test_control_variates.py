from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress, pearsonr, sem

from grading.alignment import mean_reward
from grading.control import controlled_reward
from tests.grading.data import numbers, score, simulate

FEW = {"replicates": 50}


def asked(expert, n, seed=0):
    """The scores with those of all but `n` random rollouts taken away."""
    keep = np.random.default_rng(seed).permutation(len(expert)) < n
    return np.where(keep, expert, np.nan)


def test_by_hand():
    # asked: E is 10 where P is 1, and 30 where P is 3, four times each; any seven of them have a slope of 10
    # not asked: P 6 and 8, so elsewhere is 7, and a fifth of the rollouts are there: 20 - (4 * 10 (1 - 7) + 4 * 10 (3 - 7)) / 8 / 5 = 20 + 10
    result = controlled_reward([10, 30] * 4 + [None, None], [1, 3] * 4 + [6, 8], range(10))
    assert result.with_proxy.value == pytest.approx(30)
    assert result.alone.value == 20
    assert (result.with_proxy.samples, result.with_proxy.left_out) == (8, 0)


def test_the_slopes_are_those_of_the_other_verdicts():
    expert, proxy, ids = simulate(np.random.default_rng(5), 30, 1)
    n, elsewhere = 12, proxy[12:].mean()
    slopes = [linregress(np.delete(proxy[:n], i), np.delete(expert[:n], i)).slope for i in range(n)]
    expected = expert[:n].mean() - np.mean(slopes * (proxy[:n] - elsewhere)) * 18 / 30
    assert controlled_reward([*expert[:n], *[None] * 18], proxy, ids, **FEW).with_proxy.value == pytest.approx(expected)


scores = st.lists(st.tuples(score, score), min_size=9, max_size=11)


@settings(deadline=None, max_examples=40)
@given(scores=scores, n=st.integers(1, 9))
def test_it_has_no_bias_whatever_the_proxy(scores, n):
    """Over all choices of n rollouts, the estimates average to the mean of all: exactly."""
    expert, proxy = np.array(scores).T
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
    assert few.with_proxy.value == few.alone.value == 4
    assert few.with_proxy.note == "1 of 4 rollouts without a score of the proxy; 2 verdicts: a slope on the proxy's scores needs 8"
    assert controlled_reward([*range(8), None], range(9), "a" * 9).with_proxy.note == "one prompt only: no interval"
    flat = controlled_reward([*range(8), None], [2] * 8 + [9], range(9), **FEW)
    assert flat.with_proxy.value == 3.5
    with pytest.raises(ValueError, match="2 scores"):
        controlled_reward([1, 2], [1, 2], "a")


def test_seven_verdicts_are_not_corrected_and_eight_are():
    """From a few verdicts a slope is noise, and the estimate with it: below 0 has been seen on a scale from 0."""
    for n in (7, 8):
        expert, proxy, ids = simulate(np.random.default_rng(n), 40, 1)
        result = controlled_reward(np.where(np.arange(40) < n, expert, np.nan), proxy, ids, **FEW)
        assert (result.with_proxy.value == result.alone.value) == (n < 8)
        assert (result.saving == 0) == (n < 8)


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
