"""Rollouts that a server writes: in sampling by the model's configuration, in RL by TRL's own options."""

from __future__ import annotations

import pytest

from tests.engine.conftest import lines, result, run_here
from tests.grading.servers.openai import ScriptedOpenAI
from training.engine import grpo, rl
from training.engine.faults import JobError
from training.engine.job import load_job

pytestmark = pytest.mark.training


@pytest.fixture
def server():
    with ScriptedOpenAI().running() as running:
        yield running


def test_a_sample_job_asks_the_model_that_it_names(make_job, server, monkeypatch):
    model = {"backend": "grading.models.openai.OpenAIModel", "options": {"base_url": f"{server.url}/v1", "model": "tiny"}}
    folder = make_job("served", "sample", model=model)
    assert run_here(folder, monkeypatch) == 0
    rows = lines(folder, "rollouts.jsonl")
    assert len(rows) == 15
    assert all(row["completion"] and row["tokens"] and row["grades"] for row in rows)
    assert {body["n"] for body in server.bodies("/v1/chat/completions")} == {3}


def test_a_model_that_cannot_be_loaded_is_named(make_job, monkeypatch):
    folder = make_job("none", "sample", model={"backend": "grading.models.nowhere.Model", "options": {}})
    assert run_here(folder, monkeypatch) == 1
    assert "cannot import grading.models.nowhere.Model" in result(folder)["error"]


def test_rl_with_a_server_is_told_to_truncate_token_by_token(make_job, monkeypatch):
    monkeypatch.setattr(grpo, "is_vllm_available", lambda: True)  # what is checked is what TRL's own configuration makes of it
    folder = make_job("served", "rl", vllm={"base_url": "http://policy:8000", "group_port": 51217})
    made = grpo.config(load_job(folder, "rl", rl.FIELDS, rl.OPTIONAL), 4)
    assert (made.use_vllm, made.vllm_mode, made.vllm_server_base_url, made.vllm_group_port) == (True, "server", "http://policy:8000", 51217)
    assert (made.vllm_importance_sampling_correction, made.vllm_importance_sampling_mode) == (True, "token_truncate")
    assert (made.vllm_importance_sampling_clip_max, made.vllm_server_timeout) == (3.0, 600.0)
    assert not grpo.config(load_job(make_job("here", "rl"), "rl", rl.FIELDS, rl.OPTIONAL), 4).use_vllm


def test_without_a_client_for_the_server_it_says_what_to_install(make_job):
    job = load_job(make_job("served", "rl", vllm={"base_url": "http://policy:8000"}), "rl", rl.FIELDS, rl.OPTIONAL)
    with pytest.raises(JobError, match="no vllm in the environment of training jobs"):
        grpo.config(job, 4)
    with pytest.raises(JobError, match="vllm lacks base_url"):
        grpo.config(load_job(make_job("half", "rl", vllm={}), "rl", rl.FIELDS, rl.OPTIONAL), 4)
