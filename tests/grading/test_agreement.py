from __future__ import annotations

import random
from math import sqrt

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress, t

from grading.agreement import bias, drift, icc, krippendorff_alpha, repeat_spread
from tests.grading.data import numbers

FEW = {"replicates": 50}
BETWEEN_RATERS = [krippendorff_alpha, icc]

# Krippendorff (2007), Computing Krippendorff's alpha-reliability, section D: four observers, twelve units, scores missing.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
# Shrout & Fleiss (1979), table 2: six targets (rows), four judges.
TARGETS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]

# Whole numbers, so that ties are common and shifting and scaling them is exact.
score = st.integers(0, 20)
ratings = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), score | st.none()), max_size=40, unique_by=lambda rating: rating[:2])


def rated(*units):
    """(unit, rater, score) of the scores that each unit got, raters in order."""
    return [(i, rater, score) for i, scores in enumerate(units) for rater, score in enumerate(scores)]


def same(one, other, factor=1.0):
    """Whether two estimates say the same, the other one in a unit that is `factor` times smaller."""
    for name in ("value", "low", "high"):
        expected = getattr(one, name)
        assert getattr(other, name) == (None if expected is None else pytest.approx(expected * factor, abs=1e-9))
    assert (other.samples, other.left_out, other.note) == (one.samples, one.left_out, one.note)
    return True


def test_alpha_is_krippendorff_s_own_example():
    result = krippendorff_alpha(rated(*zip(*OBSERVERS, strict=True)))
    assert result.value == pytest.approx(0.849, abs=5e-4)
    assert (result.samples, result.left_out) == (11, 1)
    assert result.note == "1 of 12 units with fewer than 2 scores; 7 of 48 ratings unscored"


def test_alpha_by_hand():
    # observed: the units' mean squared differences 1, 0 and 4, of two scores each: (1 + 0 + 4) / 3 = 5/3
    # expected: of 1 2 4 4 6 8 squares about the mean 25/6 add up to 137 - 6 (25/6)^2 = 197/6; over all pairs 2 (197/6) / 5 = 197/15
    result = krippendorff_alpha(rated([1, 2], [4, 4], [6, 8]))
    assert result.value == pytest.approx(1 - (5 / 3) / (197 / 15))


def test_icc_is_shrout_and_fleiss_s_own_example():
    result = icc(rated(*TARGETS))
    # their mean squares: (11.24 - 6.26) / (11.24 + 3 x 6.26) = 0.166, in their table 0.17
    assert result.value == pytest.approx(0.1657, abs=1e-4)
    assert (result.samples, result.left_out, result.note) == (6, 0, "")


def test_icc_of_unequal_numbers_by_hand():
    # N = 5, k = 2, n0 = (5 - (9 + 4) / 5) / 1 = 2.4; means 2 and 7, of all 4
    # between: 3 x 4 + 2 x 9 = 30 over 1; within: 2 + 2 = 4 over 5 - 2; so (30 - 4/3) / (30 + 1.4 x 4/3)
    result = icc(rated([1, 2, 3], [6, 8]))
    assert result.value == pytest.approx((30 - 4 / 3) / (30 + 1.4 * 4 / 3))


@pytest.mark.parametrize("measure", BETWEEN_RATERS)
def test_perfect_agreement_is_one_with_every_unit_drawn(measure):
    assert numbers(measure(rated([10, 10], [30, 30, 30], [70, 70]))) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("measure", BETWEEN_RATERS)
def test_raters_who_contradict_each_other_are_below_zero(measure):
    value = measure(rated([0, 10], [10, 0], [0, 10])).value
    assert value is not None
    assert value < 0


@pytest.mark.parametrize("measure", BETWEEN_RATERS)
def test_a_rater_does_not_agree_with_themself(measure):
    once = rated([10, 14], [30, 28], [70, 60])
    result = measure([*once, (0, 0, 99), (2, 1, 0), (3, 0, 5), (3, 0, 5)])
    assert result.value == measure(once).value  # the first score of a unit counts
    assert (result.samples, result.left_out) == (3, 1)
    assert result.note == "1 of 4 units with fewer than 2 scores; 3 of 10 ratings repeated by their rater"


@pytest.mark.parametrize("measure", BETWEEN_RATERS)
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "not defined: fewer than 2 units with 2 scores"),
        ([(0, 0, 5)], "not defined: fewer than 2 units with 2 scores; 1 of 1 units with fewer than 2 scores"),
        (rated([1, 2], [3], [4]), "not defined: fewer than 2 units with 2 scores; 2 of 3 units with fewer than 2 scores"),
        (rated([1, None], [2, float("nan")]), "2 of 4 ratings unscored"),
        (rated([0.1, 0.1, 0.1], [0.1, 0.1]), "not defined: no variance in the scores"),
        (rated([0, 0], [0, 0]), "not defined: no variance in the scores"),
        (rated([7, 7], [7, 7], [1]), "not defined: no variance in the scores; 1 of 3 units with fewer than 2 scores"),
    ],
)
def test_where_it_is_not_defined_the_note_says_why(measure, given, why):
    result = measure(given)
    assert (result.value, result.low, result.high) == (None, None, None)
    assert why in result.note


@given(ratings=ratings, shift=st.integers(-1000, 1000), factor=st.integers(1, 10))
def test_neither_scale_nor_zero_point_matters_between_raters(ratings, shift, factor):
    moved = [(unit, rater, None if score is None else factor * score + shift) for unit, rater, score in ratings]
    for measure in BETWEEN_RATERS:
        assert same(measure(ratings, **FEW), measure(moved, **FEW))


@given(ratings=ratings, names=st.permutations(range(6)), seed=st.integers(0, 99))
def test_neither_names_nor_order_matter_between_raters(ratings, names, seed):
    renamed = [(f"unit {names[unit]}", names[rater], score) for unit, rater, score in ratings]
    shuffled = random.Random(seed).sample(renamed, len(renamed))
    for measure in BETWEEN_RATERS:
        one, other = measure(ratings, **FEW), measure(shuffled, **FEW)
        assert other.value == (None if one.value is None else pytest.approx(one.value, abs=1e-9))
        assert (other.samples, other.left_out, other.note) == (one.samples, one.left_out, one.note)


@given(ratings=ratings)
def test_agreement_is_a_number_up_to_one_or_has_a_reason(ratings):
    for measure in BETWEEN_RATERS:
        result = measure(ratings, **FEW)
        assert (result.value is None) == result.note.startswith("not defined")
        for number in (result.value, result.low, result.high):
            assert number is None or -1e9 < number <= 1 + 1e-9
        assert result.samples + result.left_out == len({unit for unit, _, _ in ratings})


@given(ratings=ratings)
def test_alpha_is_that_of_the_package(ratings):
    table = {unit: [score for other, _, score in ratings if other == unit and score is not None] for unit, _, _ in ratings}
    units = [scores for scores in table.values() if len(scores) > 1]
    domain = sorted({score for scores in units for score in scores})
    value = krippendorff_alpha(ratings, **FEW).value
    if value is not None:
        counts = [[scores.count(score) for score in domain] for scores in units]
        expected = krippendorff.alpha(value_counts=np.array(counts), value_domain=domain, level_of_measurement="interval")
        assert value == pytest.approx(expected, abs=1e-9)


def test_many_different_scores_do_not_fill_the_memory():
    # units x scores x scores numbers, as the package holds them, would be 3000 x 9000 x 9000: 2 TB
    value = krippendorff_alpha(rated(*np.random.default_rng(0).normal(size=(3000, 3))), replicates=5).value
    assert value == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("measure", [*BETWEEN_RATERS, lambda ratings, **how: repeat_spread([(unit, score) for unit, _, score in ratings], **how)])
def test_without_replicates_there_is_the_same_value_and_no_interval(measure):
    given = rated([10, 12], [30, 34])
    result = measure(given, replicates=0)
    assert (result.value, result.low, result.high) == (measure(given).value, None, None)


def test_units_are_drawn_as_a_whole():
    # Half of the draws hold one unit twice, nothing between units. Alpha then: scores a b a b, observed (a - b)^2, expected over the six pairs
    # 4 (a - b)^2 / 6: 1 - 6/4. ICC: (0 - w) / (0 + (2 - 1) w). Ratings drawn singly would often agree and never give these as the least.
    given = rated([10, 12], [30, 34])
    assert krippendorff_alpha(given).low == pytest.approx(-0.5)
    assert icc(given).low == pytest.approx(-1)


def test_the_interval_holds_the_true_agreement_about_as_often_as_it_says():
    held = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        given = rated(*rng.normal(0, 10, (60, 1)) + rng.normal(0, 5, (60, 3)))
        _, low, high = numbers(icc(given, replicates=200, seed=seed))
        held.append(low <= 100 / (100 + 25) <= high)
    assert np.mean(held) >= 0.85  # nominal .95; a bound wider than chance


def test_spread_pools_the_units_by_their_degrees_of_freedom():
    # sums of squares within: 2 (of 10 12) and 8 (of 1 3 5), degrees of freedom 1 and 2: sqrt(10 / 3)
    result = repeat_spread([("a", 10), ("b", 1), ("a", 12), ("b", 3), ("b", 5), ("c", 50), ("c", None)])
    assert result.value == pytest.approx(sqrt(10 / 3))
    # drawn are a alone (sqrt 2), b alone (sqrt 4), or both
    assert (result.low, result.high) == (pytest.approx(sqrt(2)), pytest.approx(2))
    assert (result.samples, result.left_out) == (2, 1)
    assert result.note == "1 of 3 units with fewer than 2 scores; 1 of 7 ratings unscored"


def test_spread_without_repeats_has_no_value_and_of_one_unit_no_interval():
    assert repeat_spread([]).note == "not defined: no unit has two scores"
    assert repeat_spread([("a", 1), ("b", 2)]).note == "not defined: no unit has two scores; 2 of 2 units with fewer than 2 scores"
    result = repeat_spread([("a", 1), ("a", 3)])
    assert (result.value, result.low, result.high, result.samples) == (pytest.approx(sqrt(2)), None, None, 1)
    assert result.note == "one unit only: no interval"


def test_a_rater_who_repeats_exactly_has_no_spread():
    assert numbers(repeat_spread([("a", 5), ("a", 5), ("b", 90), ("b", 90)])) == (0, 0, 0)


@given(scores=st.lists(st.tuples(st.integers(0, 5), score | st.none()), max_size=40), levels=st.permutations(range(6)), factor=st.integers(1, 10))
def test_spread_is_in_points_and_knows_no_level_of_a_unit(scores, levels, factor):
    moved = [(unit, None if score is None else factor * score + 100 * levels[unit]) for unit, score in scores]
    assert same(repeat_spread(scores, **FEW), repeat_spread(moved, **FEW), factor)


def test_bias_is_the_mean_deviation_with_its_t_interval():
    # mean 2, sd sqrt((1 + 4 + 9) / 3), t(3 degrees of freedom, 97.5%) = 3.182
    value, low, high = numbers(bias([1, 0, 5, 2, None]))
    half = 3.18245 * sqrt(14 / 3) / 2
    assert (value, low, high) == pytest.approx((2, 2 - half, 2 + half), abs=1e-4)
    assert (bias([1, 0, 5, 2, None]).samples, bias([1, 0, 5, 2, None]).note) == (4, "1 of 5 verdicts without a deviation")


def test_bias_of_one_verdict_has_no_interval_and_of_none_no_value():
    one, none = bias([3, None]), bias([None, float("inf")])
    assert (one.value, one.low, one.high, one.samples) == (3, None, None, 1)
    assert one.note == "one verdict only: no interval; 1 of 2 verdicts without a deviation"
    assert (none.value, none.samples, none.left_out) == (None, 0, 2)
    assert none.note == "nothing to measure; 2 of 2 verdicts without a deviation"
    assert bias([]).note == "nothing to measure"
    assert numbers(bias([-4, -4, -4])) == (-4, -4, -4)


def test_drift_is_in_points_per_hundred_verdicts():
    # half a point more with every verdict: 50 points in a hundred, wherever it starts and whichever verdicts have a reference
    positions = [3, 4, 8, 10, 20, 21, 30, 50, 60]
    assert numbers(drift(positions, [position / 2 - 7 for position in positions])) == pytest.approx((50, 50, 50))
    assert numbers(drift(range(8), [5] * 8)) == (0, 0, 0)


def test_drift_has_the_interval_of_least_squares():
    rng = np.random.default_rng(0)
    positions = np.arange(1, 31)
    deviations = 0.1 * positions + rng.normal(0, 2, 30)
    line = linregress(positions, deviations)
    half = t.ppf(0.975, 28) * line.stderr
    result = drift([*positions, 31], [*deviations, None])
    assert numbers(result) == pytest.approx((100 * line.slope, 100 * (line.slope - half), 100 * (line.slope + half)))
    assert (result.samples, result.left_out) == (30, 1)


def test_drift_needs_eight_verdicts_that_are_not_all_one():
    few = drift(range(9), [1, 2, 3, 4, 5, 6, 7, None, None])
    assert (few.value, few.samples, few.left_out) == (None, 7, 2)
    assert few.note == "not defined: 7 deviations, 8 are needed; 2 of 9 verdicts without a deviation"
    assert drift([], []).note == "not defined: 0 deviations, 8 are needed"
    assert drift([4] * 8, range(8)).note == "not defined: all verdicts have the same position"


@pytest.mark.parametrize("positions", [[1, 2], [1, 2, float("nan")]])
def test_positions_that_do_not_fit_are_refused(positions):
    with pytest.raises(ValueError, match="3 deviations need as many finite positions, not 2"):
        drift(positions, [1, 2, 3])


@given(deviations=st.lists(score, min_size=8, max_size=30), shift=st.integers(-50, 50), factor=st.integers(1, 10))
def test_drift_grows_with_the_points_and_not_with_bias(deviations, shift, factor):
    moved = [factor * deviation + shift for deviation in deviations]
    assert same(drift(range(len(deviations)), deviations), drift(range(1, len(deviations) + 1), moved), factor)
