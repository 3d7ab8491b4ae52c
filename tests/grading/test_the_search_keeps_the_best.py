"""Which examples a candidate is made from, which candidates are kept, and what they score together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grading.realign.search import choose, draw, ensemble

alignments = st.dictionaries(st.integers(1, 30), st.none() | st.integers(-4, 4).map(lambda tenths: tenths / 10))
rows = st.integers(0, 6).flatmap(lambda n: st.lists(st.lists(st.none() | st.floats(0, 100), min_size=n, max_size=n), min_size=1, max_size=4))


def test_the_highest_come_first_and_of_equals_the_lower_number():
    assert choose({1: 0.2, 2: None, 3: 0.5, 4: 0.5, 5: -0.1}, 3) == [3, 4, 1]
    assert choose({1: None}, 3) == []


@given(alignments, st.integers(1, 6))
def test_none_that_is_left_out_is_better_than_one_that_is_kept(found, keep):
    chosen = choose(found, keep)
    defined = {number: value for number, value in found.items() if value is not None}
    assert len(chosen) == len(set(chosen)) == min(keep, len(defined))
    for number in set(defined) - set(chosen):
        assert all((-defined[kept], kept) < (-defined[number], number) for kept in chosen)


def test_a_rollout_s_score_is_the_mean_of_those_that_scored_it():
    assert ensemble([[10, None, None], [30, 50, None]]) == [20, 50, None]


@given(rows)
def test_an_ensemble_lies_within_its_candidates(scores):
    for column, mean in zip(np.array(scores, dtype=object).T, ensemble(scores), strict=True):
        given_scores = [score for score in column if score is not None]
        assert (mean is None) == (not given_scores)
        if given_scores:
            assert min(given_scores) - 1e-9 <= mean <= max(given_scores) + 1e-9


@given(st.lists(st.integers(), unique=True, min_size=1), st.integers(1, 12), st.integers(0, 2**31), st.sampled_from(["random", "first"]))
def test_a_draw_has_no_example_twice_and_can_be_repeated(examples, shown, seed, how):
    drawn = draw(examples, shown, how, seed)
    assert len(drawn) == len(set(drawn)) == min(shown, len(examples))
    assert set(drawn) <= set(examples if how == "random" else examples[:shown])
    assert drawn == draw(examples, shown, how, seed)


def test_draws_differ_by_their_seed():
    assert len({tuple(draw(range(30), 5, "random", seed)) for seed in range(20)}) > 15
    assert len({tuple(draw(range(30), 5, "first", seed)) for seed in range(20)}) > 10  # in their order only
