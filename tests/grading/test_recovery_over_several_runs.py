from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grading.alignment import mean_reward
from grading.recovery import efficiency, pgr, pgr_over_runs, reward_over_runs
from tests.grading.data import arms, numbers

FEW = {"replicates": 50}


def look(*scores, prompts=None):
    """One rollout a prompt."""
    return list(scores), list(range(len(scores))) if prompts is None else prompts


def runs(count, seed=0, apart=0.0, **shape):
    """`count` runs of method, base and ceiling on the same prompts, whose method's means lie `apart`."""
    found = [arms(seed=(seed, run), level=seed, method=70 + apart * (run - (count - 1) / 2), **shape) for run in range(count)]
    return {kind: [run[kind] for run in found] for kind in ("method", "base", "ceiling")}


def test_j_is_the_mean_over_runs_and_not_over_rollouts():
    short, long = look(60, 60), look(70, 70, 80, 80, prompts=[0, 0, 1, 1])
    assert reward_over_runs([short, long]).value == (60 + 75) / 2
    result = pgr_over_runs([short, long], [look(40, 40)], [look(80, 80), look(90, 90), look(85, 85)])
    assert result.value == pytest.approx((67.5 - 40) / (85 - 40))
    assert (result.samples, result.left_out) == (14, 0)


def test_it_is_not_defined_where_the_runs_of_the_ceiling_differ_too_much():
    # two runs: 60 +- t x 20 / sqrt(2) with one degree of freedom is +- 180
    result = pgr_over_runs([look(60, 60)], [look(40, 40)], [look(50, 50), look(70, 70)])
    assert (result.value, result.low) == (None, None)
    assert "not clearly positive" in result.note


def test_one_run_is_what_one_run_was():
    one = runs(1, prompts=20)
    single = pgr(**{kind: samples[0] for kind, samples in one.items()})
    assert pgr_over_runs(**one) == single
    assert numbers(reward_over_runs(one["method"])) == pytest.approx(numbers(mean_reward(*one["method"][0])))


def test_runs_that_differ_make_it_less_certain_and_two_less_than_five():
    def width(count, apart):
        _, low, high = numbers(reward_over_runs(runs(count, apart=apart, prompts=30)["method"]))
        return high - low

    assert width(3, 8.0) > 2 * width(3, 0.0)
    # runs 8 apart: 70 +- t x 8 / sqrt(3) with 2 degrees of freedom is +- 19.9, beside prompts that make +- 5.7
    assert width(3, 8.0) == pytest.approx(2 * 20.7, rel=0.25)
    assert width(2, 8.0) > width(5, 4.0)


def test_what_base_seeds_differ_by_is_no_spread_of_runs():
    """Two base seeds 20 points apart, each with two runs that are as good: strata tell the two kinds of difference apart."""
    found = runs(4, prompts=30)
    moved = {kind: [(scores + 20 * (run > 1), ids) for run, (scores, ids) in enumerate(samples)] for kind, samples in found.items()}
    _, low, high = numbers(reward_over_runs(moved["method"], strata=["a", "a", "b", "b"]))
    _, lowest, highest = numbers(reward_over_runs(moved["method"]))
    assert 2 * (high - low) < highest - lowest
    assert numbers(pgr_over_runs(**moved, strata=["a", "a", "b", "b"]))[0] == pytest.approx(0.75, abs=0.1)


def test_one_run_a_base_seed_says_that_the_spread_of_runs_is_not_known():
    found = runs(2, prompts=20)
    result = pgr_over_runs(**found, strata=["a", "b"])
    assert result.note == "; ".join(f"{kind} runs: one a base seed, so their spread is not in the interval" for kind in ("method", "ceiling"))
    assert result.value == pytest.approx(pgr_over_runs(**found).value)
    assert "ceiling runs" in pgr_over_runs(found["method"], found["base"], found["ceiling"][:1]).note


def test_what_does_not_fit_together_is_said():
    found = runs(2, prompts=5)
    with pytest.raises(ValueError, match="2 runs, but strata for 1"):
        pgr_over_runs(**found, strata=["a"])
    with pytest.raises(ValueError, match="0 runs"):
        pgr_over_runs(**found | {"base": []})
    assert reward_over_runs([look(1, prompts=["a"]), look(2, prompts=["b"])]).note == "nothing to measure; 2 of 2 prompts not scored in every look"
    assert reward_over_runs([look(1), look(2)]).note == "one prompt only: no interval"


@settings(deadline=None, max_examples=30)
@given(shift=st.floats(-100, 100), factor=st.floats(0.1, 10), seed=st.integers(0, 5))
def test_neither_scale_nor_zero_point_matters(shift, factor, seed):
    found = runs(3, seed, prompts=8, rollouts=3, noise=4.0)
    moved = {kind: [(scores * factor + shift, ids) for scores, ids in samples] for kind, samples in found.items()}
    one, other = pgr_over_runs(**found, **FEW), pgr_over_runs(**moved, **FEW)
    assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(0, 5))
def test_the_order_of_runs_and_of_rollouts_does_not_change_the_value(random, seed):
    found = runs(3, seed, prompts=8, rollouts=3, noise=4.0)

    def shuffled(sample):
        rows = list(zip(*sample, strict=True))
        random.shuffle(rows)
        return tuple(zip(*rows, strict=True))

    mixed = {kind: random.sample([shuffled(sample) for sample in samples], 3) for kind, samples in found.items()}
    assert pgr_over_runs(**mixed, **FEW).value == pytest.approx(pgr_over_runs(**found, **FEW).value)


# Efficiency: the ceiling is at 40 after 0 samples, at 60 after 200, 50 after 300 and 90 after 500.
CEILING = [(0, look(40, 40)), (200, look(60, 60)), (300, look(50, 50)), (500, look(90, 90))]


@pytest.mark.parametrize(
    ("reward", "samples"),
    [
        (30.0, 0.0),
        (40.0, 0.0),  # the base already
        (50.0, 100.0),  # half way from 40 (0) to 60 (200)
        (60.0, 200.0),
        (70.0, 400.0),  # half way up from 50 (300) to 90 (500)
    ],
)
def test_the_samples_at_matched_reward_lie_on_straight_lines_between_the_looks(reward, samples):
    result = efficiency([50], [look(reward, reward)], [CEILING])
    assert (result.ratio.value, result.ratio.low, result.note) == (500 / 50, None, "")
    assert (result.matched.value, result.matched.low, result.matched.high) == (samples / 50,) * 3


def test_a_ceiling_that_never_got_as_high_would_have_needed_more_than_all():
    result = efficiency([50], [look(95, 95)], [CEILING])
    assert (result.ratio.value, result.matched.value, result.matched.high) == (10, None, None)
    assert result.note == "the ceiling never got as high: more than `ratio`"


def test_curves_of_several_runs_are_averaged_where_all_of_them_went():
    # at 100, 200, 300: (40, 50, 60) and, half way between its looks, (50, 60, 70); mean 45, 55, 65. The first goes on to 400.
    first, second = [(n, look(m, m)) for n, m in [(100, 40), (200, 50), (300, 60), (400, 99)]], [(100, look(50, 50)), (300, look(70, 70))]
    result = efficiency([10, 30], [look(55, 55), look(65, 65)], [first, second])
    # 60 is reached after 250; 350 samples in all, the mean of 400 and 300; the method used 20
    assert result.matched.value == pytest.approx(250 / 20)
    assert result.ratio.value == 350 / 20


def test_its_interval_is_open_above_where_the_ceiling_may_never_have_been_as_high():
    base, ceiling, method = (arms(30, seed=mean, level=1, method=mean)["method"] for mean in (40, 80, 81))
    result = efficiency([100], [method], [[(0, base), (1000, ceiling)]])
    assert result.matched.high is None
    assert "replicates in which the ceiling never got as high" in result.matched.note
    lower = efficiency([100], [(np.array(method[0]) - 21, method[1])], [[(0, base), (1000, ceiling)]])
    value, low, high = numbers(lower.matched)
    assert low < value < high < 10
    assert value == pytest.approx(10 * 20 / 40, abs=0.5)


@pytest.mark.parametrize("wrong", [{"samples": [0]}, {"samples": []}, {"curves": [[]]}, {"curves": []}, {"curves": [CEILING[::-1]]}])
def test_curves_and_samples_that_make_no_sense_are_said(wrong):
    with pytest.raises(ValueError, match=r"samples|looks"):
        efficiency(**({"samples": [5], "method": [look(1, 1)], "curves": [CEILING]} | wrong))
