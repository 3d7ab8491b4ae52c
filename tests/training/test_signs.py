"""Cheap signs of over-optimisation: sentences from RL's own numbers, and silence where there is nothing to say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.signs import WINDOW, signs

QUIET = {"reward": 60.0, "reward_std": 15.0, "length": 50.0, "unscored_rate": 0.0, "unique_rate": 1.0}


def run(before: dict[str, Any] | None = None, after: dict[str, Any] | None = None, steps: int = 40) -> list[dict[str, Any]]:
    """Half the steps with the numbers `before`, half with those `after`; all others are quiet."""
    return [{"step": n, **QUIET, **((before if n <= steps // 2 else after) or {})} for n in range(1, steps + 1)]


def test_a_run_that_moves_as_gaining_ones_do_says_nothing() -> None:
    assert signs(run({"reward_std": 15.2}, {"reward": 89.0, "reward_std": 10.8, "length": 47.0, "unscored_rate": 0.006}), [(60, 0.23)]) == []


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (
            {"reward": 92.0, "reward_std": 6.8},
            "Rewards hardly differ any more: their standard deviation in a step fell from 15.0 (steps 1 to 10) to 6.8 around a mean of 92.0",
        ),
        ({"length": 80.0}, "Texts became longer: from 50 tokens on average (steps 1 to 10) to 80 (steps 31 to 40)."),
        ({"length": 30.0}, "Texts became shorter: from 50 tokens on average (steps 1 to 10) to 30 (steps 31 to 40)."),
        ({"unscored_rate": 0.08}, "8% of the rollouts got no score (steps 31 to 40)."),
        ({"unique_rate": 0.7}, "Only 70% of the texts of a step differ (steps 31 to 40)"),
    ],
)
def test_each_number_that_goes_too_far_is_told_with_its_steps(after: dict[str, float], words: str) -> None:
    (found,) = signs(run(None, after))
    assert found.startswith(words)


def test_the_newest_distance_from_the_start_counts() -> None:
    assert signs([], [(30, 0.9), (60, 0.2)]) == []
    (found,) = signs([], [(30, 0.1), (60, 0.5)])
    assert found.startswith("The policy is 0.50 nats a token away from where it started (step 60).")


def test_two_windows_that_share_steps_are_not_compared() -> None:
    short = run(None, {"length": 500.0}, steps=2 * WINDOW - 1)
    assert signs(short) == []
    assert len(signs(run(None, {"length": 500.0}, steps=2 * WINDOW))) == 1


def test_steps_without_a_number_are_passed_over() -> None:
    steps = run(None, {"length": 80.0})
    steps[0]["length"] = steps[39]["length"] = None
    del steps[38]["length"]
    (found,) = signs(steps)
    assert "(steps 2 to 11) to 80 (steps 29 to 38)" in found


numbers = st.none() | st.floats(0, 1000)
shares = st.none() | st.floats(0, 1)
logged = st.fixed_dictionaries(
    {}, optional={"reward": numbers, "reward_std": numbers, "length": numbers, "unscored_rate": shares, "unique_rate": shares}
)


@given(st.lists(logged, max_size=60), st.lists(st.tuples(st.integers(0, 99), st.floats(-1, 9)), max_size=5))
def test_whatever_was_logged_there_is_at_most_a_sentence_for_each_number(rows: list[dict[str, Any]], kl: list[tuple[int, float]]) -> None:
    found = signs([{"step": n, **row} for n, row in enumerate(rows, 1)], kl)
    assert len(found) == len({words.split(":")[0] for words in found}) <= 5
    assert all(words.endswith(".") and "None" not in words for words in found)


@given(st.lists(st.floats(1, 100), min_size=WINDOW, max_size=WINDOW), st.floats(0.01, 100))
def test_neither_scale_nor_order_within_a_window_matters_to_what_is_compared(spread: list[float], scale: float) -> None:
    half = [value / 2.01 for value in spread]

    def told(values: list[float]) -> bool:
        return bool(signs([{"step": n, "reward_std": value} for n, value in enumerate(values, 1)]))

    assert told([*spread, *half])
    assert told([scale * value for value in [*reversed(spread), *half]])
    assert not told([*spread, *spread])
