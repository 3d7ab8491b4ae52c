from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from grading.alignment import alignment, raw_correlation
from tests.grading.data import flat, numbers, rows, simulate

FEW = {"replicates": 50}


def test_it_is_the_mean_of_the_prompts_correlations():
    expert, ids = flat([1, 2, 3], [1, 2, 3])
    proxy, _ = flat([10, 20, 30], [2, 3, 1])
    # corr 1 and, with advantages (-1, 0, 1) and (0, 1, -1), -1 / 2: mean (1 - 0.5) / 2 = 0.25
    assert alignment(expert, proxy, ids).value == pytest.approx(0.25)


def test_prompts_without_variance_are_left_out_and_counted():
    expert, ids = flat([1, 2, 3], [5, 5, 5], [1, 2, 3], [9], [3, 1])
    proxy, _ = flat([1, 2, 3], [1, 2, 3], [4, 4, 4], [1], [1, 2])
    # the second has no expert variance, the third no proxy variance, the fourth is alone: (1 - 1) / 2 = 0
    result = alignment(expert, proxy, ids)
    assert result.value == pytest.approx(0)
    assert (result.samples, result.left_out) == (5, 7)
    assert result.note == "3 of 5 prompts without variance"


def test_unscored_rollouts_are_left_out_and_counted():
    expert, ids = flat([1, 2, 3, None, 8], [1, 2, float("nan")])
    proxy, _ = flat([1, 2, 3, 9, None], [2, 1, 5])
    result = alignment(expert, proxy, ids)
    assert result.value == pytest.approx(0)  # corr 1 and -1
    assert (result.samples, result.left_out, result.note) == (5, 3, "3 of 8 rollouts unscored")


def test_nothing_to_measure_has_no_value():
    for expert, proxy in (([], []), ([None, 1], [1, None]), ([1, 1], [1, 2])):
        result = alignment(expert, proxy, [0] * len(expert))
        assert (result.value, result.low, result.high, result.samples, result.left_out) == (None, None, None, 0, len(expert))
        assert "nothing to measure" in result.note


def test_one_prompt_has_a_value_and_no_interval():
    result = alignment([1, 2, 3], [1, 2, 3], [0, 0, 0])
    assert result.value == pytest.approx(1)
    assert result.low is None
    assert result.high is None
    assert result.note == "one prompt only: no interval"


def test_a_group_that_loses_its_variance_when_redrawn_is_left_out_of_that_replicate():
    expert, ids = flat(*[[1, 2]] * 10)
    # every prompt has correlation 1; half of the redrawn pairs hold one rollout twice, and must not count as 0
    assert numbers(alignment(expert, expert, ids)) == pytest.approx((1, 1, 1))


def test_scipy_agrees():
    rng = np.random.default_rng(0)
    expert, proxy, ids = simulate(rng)
    each = [pearsonr(expert[ids == i], proxy[ids == i]).statistic for i in range(40)]
    assert alignment(expert, proxy, ids, **FEW).value == pytest.approx(np.mean(each), abs=1e-12)
    assert raw_correlation(expert, proxy, ids, **FEW).value == pytest.approx(pearsonr(expert, proxy).statistic, abs=1e-12)


def test_a_proxy_that_only_knows_the_prompts_has_raw_correlation_and_no_alignment():
    rng = np.random.default_rng(1)
    expert, proxy, ids = simulate(rng, prompts=100, rho=0.0, topic=20.0)
    assert numbers(raw_correlation(expert, proxy, ids))[1] > 0.6
    _, low, high = numbers(alignment(expert, proxy, ids))
    assert low < 0 < high


@given(rows=rows)
def test_either_may_be_the_expert(rows):
    expert, proxy, ids = zip(*rows, strict=True)
    for measure in (alignment, raw_correlation):
        one, other = measure(expert, proxy, ids, **FEW), measure(proxy, expert, ids, **FEW)
        assert (one.value, one.samples) == (pytest.approx(other.value, abs=1e-9) if other.value is not None else None, other.samples)


@given(rows=rows, shift=st.floats(-50, 50), factor=st.floats(0.1, 10))
def test_neither_scale_nor_zero_point_of_a_side_matters(rows, shift, factor):
    expert, proxy, ids = zip(*rows, strict=True)
    moved = [None if score is None else factor * score + shift for score in proxy]
    for measure in (alignment, raw_correlation):
        one, other = measure(expert, proxy, ids, **FEW), measure(expert, moved, ids, **FEW)
        assert other.samples == one.samples
        for name in ("value", "low", "high"):
            assert getattr(other, name) == (None if getattr(one, name) is None else pytest.approx(getattr(one, name), abs=1e-6))


@given(rows=rows, offsets=st.lists(st.floats(-50, 50), min_size=6, max_size=6))
def test_a_prompt_s_own_level_does_not_matter_to_alignment(rows, offsets):
    expert, proxy, ids = zip(*rows, strict=True)
    moved = [None if score is None else score + offsets[i] for score, i in zip(expert, ids, strict=True)]
    one, other = alignment(expert, proxy, ids, **FEW).value, alignment(moved, proxy, ids, **FEW).value
    assert other == (None if one is None else pytest.approx(one, abs=1e-6))


@given(rows=rows, seed=st.integers(0, 99))
def test_the_order_of_the_rows_does_not_matter(rows, seed):
    shuffled = random.Random(seed).sample(rows, len(rows))
    for measure in (alignment, raw_correlation):
        one, other = (measure(*columns, replicates=50) for columns in (zip(*rows, strict=True), zip(*shuffled, strict=True)))
        assert other.value == (None if one.value is None else pytest.approx(one.value, abs=1e-9))
        assert (other.samples, other.left_out, other.note) == (one.samples, one.left_out, one.note)


@given(rows=rows)
def test_it_stays_between_minus_one_and_one(rows):
    expert, proxy, ids = zip(*rows, strict=True)
    for measure in (alignment, raw_correlation):
        result = measure(expert, proxy, ids, **FEW)
        for number in (result.value, result.low, result.high):
            assert number is None or -1 - 1e-9 <= number <= 1 + 1e-9
        assert result.samples + result.left_out == len(rows)


def test_raw_correlation_without_variance_has_no_value():
    result = raw_correlation([1, 1, 1, None], [1, 2, 3, 4], [0, 0, 1, 1])
    assert (result.value, result.left_out) == (None, 4)
    assert result.note == "no variance in the scores; 1 of 4 rollouts unscored"
