"""A rollout without a score gets no reward, rather than a reward of 0."""

from __future__ import annotations

import pytest

from tests.engine.conftest import PLAN, lines, result, reward, run_here

pytestmark = pytest.mark.training


def test_unscored_rollouts_get_none_and_stay_out_of_the_mean(make_job, monkeypatch):
    folder = make_job("some", "rl", stop=1, reward=reward(unscored=2))
    assert run_here(folder, monkeypatch) == 0
    rows, metrics = lines(folder, "rollouts.jsonl"), lines(folder, "metrics.jsonl")[0]
    rewards = [row["reward"] for row in rows]
    scored = [value for value in rewards if value is not None]
    assert 0 < len(scored) < len(rewards)
    assert metrics["reward"] == pytest.approx(sum(scored) / len(scored))
    assert metrics["unscored_rate"] == pytest.approx(1 - len(scored) / len(rewards))
    assert all(row["grades"][0]["unscored_reason"] == "no score" for row in rows if row["reward"] is None)


def test_a_step_in_which_nothing_is_scored_changes_nothing_where_that_is_allowed(make_job, tiny, monkeypatch):
    from training.engine.artifacts import digest

    folder = make_job("none", "rl", stop=1, reward=reward(unscored=7), plan={**PLAN, "unscored_limit": 1.0})
    assert run_here(folder, monkeypatch) == 0
    assert result(folder)["checkpoint"]["digest"] == digest(tiny)
    assert lines(folder, "metrics.jsonl")[0]["reward"] is None


def test_an_experts_verdicts_are_written_in_full_and_a_proxys_as_single_traces(make_job, monkeypatch):
    expert = make_job("expert", "rl", stop=1, reward={**reward(), "who": "expert"})
    assert run_here(expert, monkeypatch) == 0
    row = lines(expert, "rollouts.jsonl")[0]
    assert row["verdict"]["score"] == row["reward"]
    assert row["verdict"]["critique"].endswith(" e")
    assert row["grades"] == []

    model = {"backend": "grading.models.scripted.ScriptedModel", "options": {"script": "tests.engine.judges.opinion"}}
    grader = {"backend": "grading.graders.Grader", "options": {"prompts": ["Judge {CONTENT}"], "model": model, "n": 3}}
    proxy = make_job("proxy", "rl", stop=1, reward={"who": "proxy", "judge": grader})
    assert run_here(proxy, monkeypatch) == 0
    row = lines(proxy, "rollouts.jsonl")[0]
    assert len(row["grades"]) == 3
    assert row["reward"] == pytest.approx(sum(grade["score"] for grade in row["grades"]) / 3)
    assert "verdict" not in row
