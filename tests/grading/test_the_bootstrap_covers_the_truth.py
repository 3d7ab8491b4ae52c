"""Intervals hold the truth about as often as they say. Simulated data, fixed seeds, bounds far wider than chance."""

from __future__ import annotations

import time

import numpy as np
import pytest

from grading.alignment import alignment, mean_reward, predicted_gain, raw_correlation
from grading.bootstrap import Table, hierarchical_bootstrap
from grading.recovery import pgr
from tests.grading.data import numbers, simulate


def coverage(estimates, truth):
    return np.mean([low <= truth <= high for _, low, high in map(numbers, estimates)])


@pytest.mark.parametrize("measure", [alignment, raw_correlation, predicted_gain])
@pytest.mark.parametrize(("prompts", "rollouts"), [(40, 8), (30, 4)])
def test_agreement_is_covered(measure, prompts, rollouts):
    data = [simulate(np.random.default_rng(seed), prompts, rollouts) for seed in range(100)]
    estimates = [measure(*some, replicates=300, seed=seed) for seed, some in enumerate(data)]
    # The mean of the estimates stands for the truth: its own error is a tenth of theirs. Nominal .95, wider by design: .90 to 1.
    assert coverage(estimates, np.mean([value for value, _, _ in map(numbers, estimates)])) >= 0.9


def test_mean_reward_is_covered_and_not_by_being_vague():
    data = [simulate(np.random.default_rng(seed)) for seed in range(200)]
    estimates = [mean_reward(expert, ids, replicates=300, seed=seed) for seed, (expert, _, ids) in enumerate(data)]
    assert coverage(estimates, 50.0) >= 0.9
    # sd of the mean: sqrt(5^2 / 40 + 10^2 / 320) = 0.968, so the exact interval is 2 x 1.96 x 0.968 = 3.79 wide
    assert 3.4 < np.mean([high - low for _, low, high in map(numbers, estimates)]) < 1.35 * 3.79


def test_prompts_are_redrawn_and_rollouts_within_them():
    """Prompts 0 and 100 apart with rollouts 2 apart: redrawing only rollouts would never leave 49..51, redrawing only prompts would always give
    0, 50 or 100 plus 1."""
    table = Table.of([0, 0, 1, 1], np.array([0.0, 2.0, 100.0, 102.0]))
    means = hierarchical_bootstrap(lambda t: t.columns[0].sum((-2, -1)) / t.counts.sum(-1), [table], replicates=4000, seed=1)
    assert {0.0, 0.5, 1.0, 1.5, 2.0, 50.5, 51.0, 102.0} <= set(means.tolist())
    # one prompt twice: 1/2; then the mean of four rollouts drawn from (0, 2): all 0 with probability 1/16; prompt 0 twice: 1/4
    assert np.mean(means == 0) == pytest.approx(1 / 64, abs=0.01)
    assert np.mean(means < 10) == pytest.approx(1 / 4, abs=0.03)


def test_ragged_prompts_draw_as_many_rollouts_as_they_have():
    table = Table.of(["a", "b", "b", "b"], np.array([1.0, 10.0, 20.0, 30.0]))
    sums = hierarchical_bootstrap(lambda t: t.columns[0].sum(-1)[:, 0] / t.counts[:, 0], [table], replicates=3000, seed=0)
    # the first drawn prompt is a (always 1) or b (mean of three of 10, 20, 30: thirds between 10 and 30)
    assert np.mean(sums == 1) == pytest.approx(0.5, abs=0.05)
    assert sums[sums > 1].min() == 10
    assert sums.max() == 30
    assert sums[sums > 1].mean() == pytest.approx(20, abs=0.5)


def test_the_seed_decides():
    data = simulate(np.random.default_rng(0))
    assert alignment(*data, seed=1) == alignment(*data, seed=1)
    assert alignment(*data, seed=1).low != alignment(*data, seed=2).low


def test_ten_thousand_replicates_of_sixty_by_sixteen_take_about_a_second():
    expert, proxy, ids = simulate(np.random.default_rng(0), 60, 16)
    began = time.process_time()
    alignment(expert, proxy, ids, replicates=10_000)
    pgr(method=(expert + 20, ids), base=(expert, ids), ceiling=(proxy + 40, ids), replicates=10_000)
    assert time.process_time() - began < 4  # measured 0.5 on one core; the bound is for busy machines
