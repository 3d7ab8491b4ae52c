"""Whether realigning helped is told on the same rollouts, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grading.alignment import alignment, alignment_change
from tests.grading.data import flat, simulate

FEW = {"replicates": 50}


def test_it_is_the_alignment_after_less_the_alignment_before():
    expert, ids = flat([1, 2, 3], [1, 2, 3])
    before, _ = flat([1, 3, 2], [3, 2, 1])  # 0.5 and -1: mean -0.25
    after, _ = flat([1, 2, 3], [2, 3, 1])  # 1 and -0.5: mean 0.25
    assert alignment_change(expert, before, after, ids).value == pytest.approx(0.5)


def test_rollouts_and_prompts_that_one_side_lacks_are_left_out_of_both():
    expert, ids = flat([1, 2, 3, 9], [1, 2], [1, 2])
    before, _ = flat([1, 2, 3, None], [1, 1], [2, 1])
    after, _ = flat([3, 2, 1, 5], [1, 2], [1, 2])
    # the fourth rollout was unscored before, the second prompt had no variance before: (-1 - 1 + 1 - -1) / 2 = 0
    change = alignment_change(expert, before, after, ids)
    assert change.value == pytest.approx(0)
    assert (change.samples, change.left_out) == (5, 3)
    assert change.note == "1 of 8 rollouts unscored; 1 of 3 prompts without variance"


@given(seed=st.integers(0, 1000))
def test_turned_round_it_is_the_opposite_and_against_itself_nothing(seed):
    rng = np.random.default_rng(seed)
    expert, proxy, ids = simulate(rng, 6, 5, 0.5)
    other = proxy + rng.normal(0, 10, len(proxy))
    there, back = alignment_change(expert, proxy, other, ids, **FEW), alignment_change(expert, other, proxy, ids, **FEW)
    assert there.value == pytest.approx(-back.value)
    assert alignment_change(expert, proxy, proxy, ids, **FEW).value == pytest.approx(0)
    assert there.value == pytest.approx(alignment(expert, other, ids, **FEW).value - alignment(expert, proxy, ids, **FEW).value)


def test_its_interval_is_narrower_than_those_of_two_proxies_that_err_alike():
    rng = np.random.default_rng(3)
    expert, before, ids = simulate(rng, 40, 8, 0.5)
    after = before + rng.normal(0, 0.5, len(before))
    change, alone = alignment_change(expert, before, after, ids), alignment(expert, before, ids)
    assert change.high - change.low < (alone.high - alone.low) / 2
