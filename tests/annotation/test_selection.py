"""The strategies as pure functions: the arithmetic beside the expected values, then properties."""

from __future__ import annotations

from itertools import pairwise
from math import inf, nan, sqrt
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import variation

from annotation.selection import at_random, disagreements, max_disagreement, max_variance, relative_spread, relative_spreads

SCORES = st.none() | st.floats(-1e6, 1e6)
GRADES = st.dictionaries(st.integers(0, 50), st.lists(SCORES, max_size=10), max_size=20)


def test_spread_is_the_samples_standard_deviation_by_the_mean():
    # deviations of (2, 4, 6) from 4: -2, 0, 2; squares sum to 8; 8 / (3 - 1) = 4; sqrt 4 = 2; 2 / 4 = 0.5
    assert relative_spread([2, 4, 6]) == 0.5


def test_unscored_traces_are_left_out_of_the_spread():
    assert relative_spread([2, None, 4, nan, 6, None]) == 0.5


@pytest.mark.parametrize("grades", [[], [5], [None, None], [None, 5]])
def test_fewer_than_two_scored_grades_say_nothing_about_doubt(grades):
    assert relative_spread(grades) == -inf


@pytest.mark.parametrize(("grades", "expected"), [([0, 0, 0], 0), ([7, 7], 0), ([-1, 1], inf), ([-2, -4, -6], 0.5)])
def test_zero_and_negative_means_are_defined(grades, expected):
    assert relative_spread(grades) == expected


def test_max_variance_ranks_doubt_first_and_the_unknown_last():
    grades = {"sure": [50, 50], "unsure": [10, 90], "unscored": [None, None], "a little": [49, 51]}
    assert max_variance(grades, 4, Random(1)) == ["unsure", "a little", "sure", "unscored"]


def test_the_same_spread_at_a_lower_mean_is_more_doubt():
    assert max_variance({"high": [80, 90], "low": [10, 20]}, 1, Random(1)) == ["low"]


def test_disagreement_is_the_distance_of_the_two_advantages():
    # expert 10, 20, 60: mean 30, A = -20, -10, 30. proxy 40, 50, 60: mean 50, A = -10, 0, 10. distances 10, 10, 20.
    expert, proxy = {"a": 10, "b": 20, "c": 60}, {"a": 40, "b": 50, "c": 60}
    found = disagreements(expert, proxy, dict.fromkeys("abc", 0))
    assert found == pytest.approx({"a": 10, "b": 10, "c": 20})
    assert max_disagreement(expert, proxy, dict.fromkeys("abc", 0), 1, Random(1)) == ["c"]


def test_a_proxy_that_is_only_more_generous_does_not_disagree():
    expert = {"a": 10.0, "b": 20.0}
    assert disagreements(expert, {"a": 60.0, "b": 70.0}, {"a": 0, "b": 0}) == {"a": 0, "b": 0}


def test_groups_of_one_have_no_advantage_and_come_after_known_disagreement_but_before_the_unscored():
    expert = {"alone": 90.0, "a": 10.0, "b": 20.0, "unscored": None}
    proxy = {"alone": 10.0, "a": 20.0, "b": 10.0, "unscored": 50.0}
    groups = {"alone": 1, "a": 2, "b": 2, "unscored": 2}
    assert disagreements(expert, proxy, groups)["alone"] == 0
    assert max_disagreement(expert, proxy, groups, 4, Random(1))[2:] == ["alone", "unscored"]


def test_a_member_that_one_side_left_unscored_does_not_shift_the_means():
    # without c: gaps 10 and 30, mean 20, distances 10 and 10
    found = disagreements({"a": 0, "b": 0, "c": 50}, {"a": 10, "b": 30, "c": None}, dict.fromkeys("abc", 0))
    assert found == {"a": 10, "b": 10}


def test_ties_fall_to_each_side_equally_often():
    first = [max_variance({"a": [10, 20], "b": [10, 20], "c": [15, 15]}, 1, Random(seed))[0] for seed in range(400)]
    assert first.count("c") == 0
    assert abs(first.count("a") - 200) < 4 * sqrt(400 / 4)  # four standard deviations


def test_rounding_does_not_decide_a_tie():
    # 0.1, 0.2 and 0.3, 0.6 have the same relative spread, and not to the last bit
    grades = {"a": [0.1, 0.2], "b": [0.3, 0.6]}
    assert {max_variance(grades, 1, Random(seed))[0] for seed in range(40)} == {"a", "b"}


@pytest.mark.parametrize("choose", [lambda n: at_random([1], n, Random(0)), lambda n: max_variance({1: []}, n, Random(0))])
def test_a_negative_number_cannot_be_chosen(choose):
    with pytest.raises(ValueError, match="cannot choose -1"):
        choose(-1)


@settings(deadline=None)  # a busy machine is no failure
@given(st.sets(st.integers()), st.integers(0, 30), st.integers())
def test_a_random_choice_is_of_the_ids_without_repeats_and_the_same_for_a_seed(ids, n, seed):
    chosen = at_random(sorted(ids), n, Random(seed))
    assert len(chosen) == len(set(chosen)) == min(n, len(ids))
    assert set(chosen) <= ids
    assert chosen == at_random(sorted(ids), n, Random(seed))


@settings(deadline=None)  # a busy machine is no failure
@given(GRADES, st.integers(0, 25), st.integers())
def test_no_id_left_out_has_more_spread_than_one_chosen(grades, n, seed):
    chosen = max_variance(grades, n, Random(seed))
    assert len(chosen) == len(set(chosen)) == min(n, len(grades))
    left = set(grades) - set(chosen)
    spreads = [relative_spread(grades[key]) for key in chosen]
    assert all(a >= b - 1e-8 for a, b in pairwise(spreads))
    if chosen and left:
        assert min(spreads) >= max(relative_spread(grades[key]) for key in left) - 1e-8


@settings(deadline=None)  # a busy machine is no failure
@given(GRADES, st.integers(0, 25), st.integers())
def test_a_longer_choice_begins_with_the_shorter(grades, n, seed):
    assert max_variance(grades, n + 1, Random(seed))[:n] == max_variance(grades, n, Random(seed))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(SCORES, SCORES, st.integers(0, 3)), max_size=20), st.floats(-100, 100), st.integers(0, 25))
def test_disagreement_does_not_change_when_the_proxy_shifts_a_whole_group(rows, shift, n):
    expert = {i: row[0] for i, row in enumerate(rows)}
    proxy = {i: row[1] for i, row in enumerate(rows)}
    groups = {i: row[2] for i, row in enumerate(rows)}
    shifted = {i: None if value is None else value + shift * groups[i] for i, value in proxy.items()}
    before, after = disagreements(expert, proxy, groups), disagreements(expert, shifted, groups)
    assert before.keys() == after.keys() == {i for i, row in enumerate(rows) if None not in row[:2]}
    assert all(value == pytest.approx(after[key], abs=1e-6) and value >= 0 for key, value in before.items())
    assert len(max_disagreement(expert, proxy, groups, n, Random(0))) == min(n, len(rows))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.lists(SCORES | st.just(nan) | st.just(inf), max_size=10), max_size=20))
def test_many_rollouts_at_once_are_as_each_alone(grades):
    padded = np.array([[nan if value is None else value for value in row] + [nan] * (10 - len(row)) for row in grades], dtype=float).reshape(-1, 10)
    # Not to the last digit: NumPy adds up a row in an order that depends on how wide the table is.
    alone = pytest.approx([relative_spread(row) for row in grades], rel=1e-9)
    assert list(relative_spreads(grades)) == alone
    assert list(relative_spreads(padded)) == alone


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.floats(0.1, 1e6), min_size=2, max_size=10))
def test_the_spread_is_scipy_s(grades):
    assert relative_spread(grades) == pytest.approx(variation(grades, ddof=1), abs=1e-9)
