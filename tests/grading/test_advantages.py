from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from grading.alignment import advantages
from tests.grading.data import flat, rows


def test_an_advantage_is_the_distance_from_the_group_s_mean():
    rewards, ids = flat([1, 2, 6], [10, 10], [7])
    # means 3, 10 and 7
    assert advantages(rewards, ids).tolist() == [-2, -1, 3, 0, 0, 0]


def test_scaled_it_is_in_standard_deviations_of_the_group():
    rewards, ids = flat([1, 2, 3], [5, 5, 5], [4])
    # sd of (1, 2, 3) with n - 1 is 1; without variance there is no advantage
    assert advantages(rewards, ids, scale=True).tolist() == [-1, 0, 1, 0, 0, 0, 0]


def test_groups_may_be_mixed_up_and_of_any_hashable():
    assert advantages([1, 10, 3, 30], ["a", ("b", 1), "a", ("b", 1)]).tolist() == [-1, -10, 1, 10]


def test_unscored_rewards_have_none_and_do_not_touch_the_mean():
    result = advantages([1, None, 3, float("nan"), float("inf")], [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(result, [-1, np.nan, 1, np.nan, np.nan])


@given(rows=rows)
def test_they_sum_to_nothing_in_every_group(rows):
    rewards, _, ids = zip(*rows, strict=True)
    result = advantages(rewards, ids)
    assert [np.isnan(a) for a in result] == [reward is None for reward in rewards]
    for group in set(ids):
        assert np.nansum([a for a, i in zip(result, ids, strict=True) if i == group]) == pytest.approx(0, abs=1e-9)


def test_scores_and_ids_must_be_as_many():
    with pytest.raises(ValueError, match="2 scores, but prompt ids for 3"):
        advantages([1, 2], [1, 1, 1])


def test_no_rewards_have_no_advantages():
    assert len(advantages([], [])) == 0
