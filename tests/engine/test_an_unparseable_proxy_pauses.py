"""A proxy whose traces give no score pauses the run: nothing is trained on them, and everything before is kept."""

from __future__ import annotations

import pytest

from tests.engine.conftest import change, lines, result, reward, run_here

pytestmark = pytest.mark.training


def test_a_proxy_that_loses_its_form_pauses_the_run_at_the_last_good_step(make_job, unbroken, monkeypatch):
    folder = make_job("speechless", "rl", stop=6)
    change(folder, reward=reward(speechless=4))
    assert run_here(folder, monkeypatch) == 1
    paused = result(folder)
    assert paused["status"] == "failed"
    assert paused["error"] == "100% of the rollouts of step 4 are unscored (no score); the limit is 50%"
    assert "not trained on" in paused["advice"]
    assert (paused["paused"], paused["step"], paused["example"]["trace"]) == (True, 3, "I would rather not say.")
    assert max(row["step"] for row in lines(folder, "rollouts.jsonl")) == 3

    change(folder, reward=reward())
    assert run_here(folder, monkeypatch) == 0
    assert result(folder)["checkpoint"]["digest"] == result(unbroken)["checkpoint"]["digest"]


def test_a_grader_that_babbles_from_the_start_says_so(make_job, monkeypatch):
    model = {"backend": "grading.models.scripted.ScriptedModel", "options": {"script": "tests.engine.judges.babble"}}
    grader = {"backend": "grading.graders.Grader", "options": {"prompts": ["Judge {CONTENT}"], "model": model, "n": 2}}
    folder = make_job("babble", "rl", reward={"who": "proxy", "judge": grader})
    assert run_here(folder, monkeypatch) == 1
    assert "100% of the rollouts of step 1 are unscored (no score)" in result(folder)["error"]
    assert result(folder)["example"]["trace"].startswith("what a lovely day")
    assert not (folder / "checkpoints").exists()
