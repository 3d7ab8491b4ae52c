"""A run cut into segments, each a job of its own, equals one job."""

from __future__ import annotations

import pytest

from tests.engine.conftest import change, lines, result, reward, run_here

pytestmark = pytest.mark.training


def test_two_segments_end_with_the_weights_of_one_job(make_job, unbroken, monkeypatch):
    first = make_job("first", "rl", stop=3)
    assert run_here(first, monkeypatch) == 0
    reached = result(first)["checkpoint"]
    second = make_job("second", "rl", start=3, stop=6, policy=reached["path"], resume_from=reached["trainer_state"])
    assert run_here(second, monkeypatch) == 0

    assert result(second)["checkpoint"]["digest"] == result(unbroken)["checkpoint"]["digest"]
    assert lines(first, "rollouts.jsonl") + lines(second, "rollouts.jsonl") == lines(unbroken, "rollouts.jsonl")
    assert [(line["step"], line["done"], line["total"]) for line in lines(second, "metrics.jsonl")] == [(4, 1, 3), (5, 2, 3), (6, 3, 3)]


def test_a_segment_with_a_fresh_optimizer_counts_on_and_resumes_exactly_too(make_job, unbroken, monkeypatch):
    policy = str(unbroken / "policy")
    whole = make_job("whole", "rl", start=6, stop=9, policy=policy)
    assert run_here(whole, monkeypatch) == 0
    broken = make_job("broken", "rl", start=6, stop=9, policy=policy)
    change(broken, reward=reward(stop=str(broken / "stop"), at=1))
    assert run_here(broken, monkeypatch) == 0
    assert result(broken)["step"] == 7
    change(broken, reward=reward())
    assert run_here(broken, monkeypatch) == 0

    assert result(broken)["checkpoint"]["digest"] == result(whole)["checkpoint"]["digest"]
    assert [line["step"] for line in lines(whole, "metrics.jsonl")] == [7, 8, 9]


def test_a_checkpoint_of_another_step_is_refused(make_job, unbroken, monkeypatch):
    folder = make_job("late", "rl", start=5, stop=9, resume_from=result(unbroken)["checkpoint"]["trainer_state"])
    assert run_here(folder, monkeypatch) == 1
    assert result(folder)["error"] == "resume_from stands at step 6, and step 5 was expected"


def test_after_a_roll_back_steps_count_on_from_an_earlier_checkpoint_and_resume_exactly(make_job, unbroken, monkeypatch):
    back = {"policy": str(unbroken / "policy"), "resume_from": result(unbroken)["checkpoint"]["trainer_state"], "origin": 6}
    whole = make_job("whole", "rl", start=9, stop=12, **back)
    assert run_here(whole, monkeypatch) == 0
    broken = make_job("broken", "rl", start=9, stop=12, **back)
    change(broken, reward=reward(stop=str(broken / "stop"), at=1))
    assert run_here(broken, monkeypatch) == 0
    assert result(broken)["step"] == 10
    change(broken, reward=reward())
    assert run_here(broken, monkeypatch) == 0
    assert result(broken)["checkpoint"]["digest"] == result(whole)["checkpoint"]["digest"]
    assert [line["step"] for line in lines(whole, "metrics.jsonl")] == [10, 11, 12]

    straight = make_job("straight", "rl", start=6, stop=9, **{name: back[name] for name in ("policy", "resume_from")})
    assert run_here(straight, monkeypatch) == 0
    # Its prompts are those of the steps that it counts, not of those that were lost.
    assert [row["prompt"] for row in lines(whole, "rollouts.jsonl")] != [row["prompt"] for row in lines(straight, "rollouts.jsonl")]
