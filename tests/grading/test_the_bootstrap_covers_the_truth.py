"""95% intervals hold the truth about as often as they say: in 92 to 98% of 500 simulated data sets, with fixed seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from grading.alignment import Estimate, alignment, alignment_change, mean_reward, predicted_gain, raw_correlation
from grading.bootstrap import Table, hierarchical_bootstrap
from grading.control import controlled_reward
from grading.recovery import pgr, pgr_over_runs, reward_over_runs
from tests.grading.data import arms, numbers, simulate

DATA_SETS = 500
OPTIONS = {"replicates": 250}


def agreement(measure, **shape) -> Callable[[int], Estimate]:
    return lambda seed: measure(*simulate(np.random.default_rng(seed), **shape), seed=seed, **OPTIONS)


def change(seed: int) -> Estimate:
    expert, before, ids = simulate(np.random.default_rng(seed), rho=0.5)
    return alignment_change(expert, before, before + 0.3 * expert, ids, seed=seed, **OPTIONS)


def reward(seed: int, **shape) -> Estimate:
    expert, _, ids = simulate(np.random.default_rng(seed), **shape)
    return mean_reward(expert, ids, seed=seed, **OPTIONS)


def recovered(seed: int) -> Estimate:
    return pgr(**arms(40, seed=seed), seed=seed, **OPTIONS)


def over_runs(measure, runs: int, base_seeds: int, between: float) -> Callable[[int], Estimate]:
    """Of `runs` RL seeds for each base seed, whose means lie `between` (one standard deviation) apart."""

    def estimate(seed: int) -> Estimate:
        rng = np.random.default_rng(seed + 10_000)
        means = [{"method": 70 + rng.normal(0, between), "ceiling": 80 + rng.normal(0, between)} for _ in range(runs * base_seeds)]
        found = [arms(30, 6, seed=(seed, run), level=seed, **mean) for run, mean in enumerate(means)]
        kinds = {kind: [run[kind] for run in found] for kind in ("method", "base", "ceiling")}
        return measure(kinds, strata=np.repeat(np.arange(base_seeds), runs).tolist(), seed=seed, **OPTIONS)

    return estimate


def controlled(seed: int) -> Estimate:
    rng = np.random.default_rng(seed)
    expert, proxy, ids = simulate(rng, 60, 4)
    chosen = rng.permutation(len(expert)) < 60
    return controlled_reward(np.where(chosen, expert, np.nan), proxy, ids, seed=seed, **OPTIONS).with_proxy


PGR, REWARD = (lambda kinds, **rest: pgr_over_runs(**kinds, **rest)), (lambda kinds, **rest: reward_over_runs(kinds["method"], **rest))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimate", "truth"),
    [
        # Without a truth given, the mean of the estimates stands for it: its own error is a twentieth of theirs.
        pytest.param(agreement(alignment), None, id="alignment"),
        pytest.param(agreement(alignment, prompts=30, rollouts=4), None, id="alignment in small groups"),
        pytest.param(agreement(raw_correlation), None, id="raw correlation"),
        pytest.param(agreement(predicted_gain), 70 * 7 / 8, id="predicted gain"),
        pytest.param(agreement(predicted_gain, prompts=60, rollouts=4), 70 * 3 / 4, id="predicted gain in small groups"),
        pytest.param(change, None, id="alignment change"),
        pytest.param(reward, 50.0, id="mean reward"),
        pytest.param(lambda seed: reward(seed, topic=0.0), 50.0, id="mean reward of prompts that are all alike"),
        pytest.param(lambda seed: reward(seed, prompts=10), 50.0, id="mean reward of few prompts"),
        pytest.param(recovered, 0.75, id="pgr"),
        pytest.param(over_runs(PGR, 3, 1, 1.0), 0.75, id="pgr over 3 runs"),
        pytest.param(over_runs(PGR, 2, 2, 1.0), 0.75, id="pgr over 2 runs of 2 base seeds"),
        pytest.param(over_runs(REWARD, 3, 1, 3.0), 70.0, id="reward over 3 runs that differ much"),
        pytest.param(controlled, 50.0, id="control variate"),
    ],
)
def test_it_is_covered(estimate, truth):
    found = np.array([numbers(estimate(seed)) for seed in range(DATA_SETS)])
    value, low, high = found.T
    truth = value.mean() if truth is None else truth
    assert 0.92 <= np.mean((low <= truth) & (truth <= high)) <= 0.98


def test_the_spread_of_rollouts_is_counted_once():
    """Redrawn rollouts in redrawn prompts have it twice: sqrt(2 - 1/8) = 1.37 times too wide where prompts are all alike."""
    found = [numbers(reward(seed, topic=0.0)) for seed in range(60)]
    exact = 2 * 1.96 * 10 / np.sqrt(40 * 8)
    assert np.mean([high - low for _, low, high in found]) == pytest.approx(exact, rel=0.08)


def test_with_one_rollout_a_prompt_it_is_the_ordinary_bootstrap():
    scores = np.random.default_rng(0).exponential(10, 200)
    _, low, high = numbers(mean_reward(scores, range(200), replicates=20_000))
    theirs = scipy.stats.bootstrap((scores,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    # few prompts: sqrt(200 / 199) and t against the normal are 1% together
    assert (low, high) == pytest.approx(theirs, abs=0.05 * (high - low))


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
