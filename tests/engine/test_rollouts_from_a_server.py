"""Rollouts that a server writes: in sampling by the model's configuration, in RL by TRL's own options."""

from __future__ import annotations

import time

import psutil
import pytest

from tests.engine.conftest import change, lines, result, run_here, start_job
from tests.grading.servers import vllm
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


@pytest.mark.vllm
@pytest.mark.slow
def test_a_vllm_of_its_own_serves_the_checkpoint_while_it_is_sampled_from(make_job, monkeypatch):
    base, before = str(vllm.BASE), psutil.Process().children(recursive=True)
    folder = make_job("own", "sample", model=base, reference=base, serve=vllm.COMMAND)
    assert run_here(folder, monkeypatch) == 0, result(folder)
    assert result(folder) == {"status": "done", "rollouts": 15, "kl": 0.0, "kl_rollout": 0.0}
    rows = lines(folder, "rollouts.jsonl")
    assert all(row["completion"] and row["grades"] for row in rows)
    assert len({row["completion"] for row in rows}) > 5
    assert all(row["moved"] == 0.0 and row["tokens"] > 0 for row in rows)
    assert not [child for child in psutil.Process().children(recursive=True) if child not in before and "vllm" in " ".join(child.cmdline())]


@pytest.mark.vllm
@pytest.mark.slow
def test_a_job_that_is_killed_takes_along_its_vllm_which_still_starts_and_hears_nothing(make_job):
    folder = make_job("killed", "sample", model=str(vllm.BASE), serve=vllm.COMMAND)
    with start_job(folder) as process:
        deadline = time.monotonic() + vllm.STARTS_IN
        while "vLLM" not in said(folder):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, said(folder)
            time.sleep(0.1)
        servers = psutil.Process(process.pid).children(recursive=True)
        assert servers
        process.kill()
    assert not psutil.wait_procs(servers, timeout=60)[1]


def said(folder):
    log = folder / "vllm.log"
    return log.read_text(errors="replace") if log.exists() else ""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["/bin/sh", "-c", "echo No room for the weights; exit 3"], "vLLM ended: No room for the weights"),
        (["/nowhere/vllm", "serve"], "No such file or directory: '/nowhere/vllm'"),
    ],
)
def test_a_vllm_that_does_not_start_is_explained(command, words, make_job, monkeypatch):
    folder = make_job("none", "sample", serve=command)
    assert run_here(folder, monkeypatch) == 1
    assert words in result(folder)["error"]
    assert "TOUCHSTONE_VLLM_COMMAND" in result(folder)["advice"]


@pytest.mark.parametrize(("kind", "model", "counted"), [("sample", "model", "rollouts"), ("optimise", "policy", "calls")])
def test_a_job_that_is_stopped_does_not_wait_for_its_vllm(make_job, tiny, kind, model, counted, monkeypatch):
    folder = make_job("stopped", kind, **{model: str(tiny)})
    change(folder, serve=["/bin/sh", "-c", f"touch '{folder}/stop'; sleep 600"])
    assert run_here(folder, monkeypatch) == 0
    assert result(folder) == {"status": "stopped", counted: 0}


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
