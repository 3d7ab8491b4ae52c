from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grading.alignment import mean_reward
from grading.recovery import pgr
from tests.grading.data import arms, flat, numbers, score


def test_it_is_the_share_of_the_gap_that_was_recovered():
    prompts = range(4)
    result = pgr(method=([70] * 4, prompts), base=([40] * 4, prompts), ceiling=([80] * 4, prompts))
    # (70 - 40) / (80 - 40)
    assert (result.value, result.low, result.high) == (0.75, 0.75, 0.75)
    assert (result.samples, result.left_out, result.note) == (12, 0, "")


def test_it_may_be_negative_or_more_than_all():
    assert numbers(pgr(**arms(method=30)))[2] < 0
    assert numbers(pgr(**arms(method=100)))[1] > 1


def test_prompts_are_drawn_once_for_all_three():
    """How prompts differ cancels, since all three were asked the same: the interval is far narrower than with prompts drawn apart."""
    paired = arms(noise=1.0)
    _, low, high = numbers(pgr(**paired))
    assert high - low < 0.02
    _, low, high = numbers(mean_reward(*paired["method"]))
    assert high - low > 5


def test_only_prompts_scored_in_all_three_count():
    base, _ = flat([40, 40], [40], [0])
    result = pgr(base=(base, ["a", "a", "b", "c"]), ceiling=([80, 80, None, 99], ["a", "b", "b", "d"]), method=([60, 60, 1], ["b", "a", "e"]))
    # a and b: (60 - 40) / (80 - 40)
    assert result.value == 0.5
    assert (result.samples, result.left_out) == (7, 4)
    assert result.note == "3 of 5 prompts not scored in every look"


@pytest.mark.parametrize("ceiling", [40.0, 41.0, 20.0])
def test_it_is_not_defined_where_the_gap_is_not_clearly_positive(ceiling):
    result = pgr(**arms(prompts=10, rollouts=4, ceiling=ceiling))
    assert (result.value, result.low, result.high) == (None, None, None)
    assert result.note.startswith("not defined: the ceiling is ")
    assert len(result.note) <= 200


def test_nor_without_common_prompts_or_with_one():
    alone = ([1.0, 2.0], ["a", "a"])
    assert pgr(base=alone, ceiling=([90.0], ["b"]), method=alone).note == "nothing to measure; 2 of 2 prompts not scored in every look"
    assert "no interval" in pgr(base=alone, ceiling=([90.0], ["a"]), method=alone).note


@given(shift=st.floats(-100, 100), factor=st.floats(0.1, 10))
def test_neither_scale_nor_zero_point_matters(shift, factor):
    plain = arms(prompts=8, rollouts=3)
    moved: dict[str, Any] = {name: (values * factor + shift, ids) for name, (values, ids) in plain.items()}
    one, other = pgr(**plain), pgr(**moved)
    assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), abs=1e-6)


def test_the_ceiling_recovers_all_and_the_base_nothing():
    three = arms()
    assert pgr(**three | {"method": three["ceiling"]}).value == pytest.approx(1)
    assert pgr(**three | {"method": three["base"]}).value == pytest.approx(0)


@given(scores=st.lists(st.tuples(score | st.none(), st.integers(0, 4)), min_size=1))
def test_mean_reward_is_the_mean_of_what_is_scored(scores):
    values, ids = zip(*scores, strict=True)
    there = [value for value in values if value is not None]
    result = mean_reward(values, ids, replicates=50)
    assert result.value == (pytest.approx(np.mean(there), abs=1e-9) if there else None)
    assert (result.samples, result.left_out) == (len(there), len(values) - len(there))
    assert ("unscored" in result.note) == (len(there) < len(values))
    if result.low is not None:
        _, low, high = numbers(result)
        assert min(there) - 1e-9 <= low <= high <= max(there) + 1e-9
