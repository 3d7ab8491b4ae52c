"""k steps, a stop, and the rest give the weights of one unbroken run, bit for bit."""

from __future__ import annotations

import signal
import time

import pytest

from tests.engine.conftest import PLAN, change, lines, result, reward, run_here, run_job, start_job

pytestmark = pytest.mark.training


def test_a_job_stopped_by_its_stop_file_and_run_again_ends_with_the_same_weights(make_job, unbroken, monkeypatch):
    folder = make_job("broken", "rl", stop=6)
    change(folder, reward=reward(stop=str(folder / "stop"), at=3))
    assert run_job(folder).returncode == 0
    assert (result(folder)["status"], result(folder)["step"]) == ("stopped", 3)
    assert not (folder / "stop").exists()

    assert run_here(folder, monkeypatch) == 0
    assert result(folder)["status"] == "done"
    assert result(folder)["checkpoint"]["digest"] == result(unbroken)["checkpoint"]["digest"]
    assert lines(folder, "rollouts.jsonl") == lines(unbroken, "rollouts.jsonl")
    assert [line["step"] for line in lines(folder, "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_a_stop_saves_the_step_it_comes_at_although_no_checkpoint_was_due(make_job, monkeypatch):
    folder = make_job("broken", "rl", plan={**PLAN, "save_every": 100})
    change(folder, reward=reward(stop=str(folder / "stop"), at=1))
    assert run_here(folder, monkeypatch) == 0
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-0001"]


def test_sigterm_stops_at_the_next_step_with_everything_saved(make_job):
    folder = make_job("terminated", "rl", stop=100000)
    process = start_job(folder)
    deadline = time.monotonic() + 60
    while not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").stat().st_size:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    step = lines(folder, "metrics.jsonl")[-1]["step"]
    assert result(folder)["status"] == "stopped"
    assert result(folder)["step"] == step
    assert (folder / "checkpoints" / f"step-{step:04d}" / "complete.json").exists()


def test_a_job_that_is_done_is_not_done_again(unbroken, monkeypatch):
    before = (unbroken / "metrics.jsonl").read_bytes(), (unbroken / "result.json").stat().st_mtime_ns
    assert run_here(unbroken, monkeypatch) == 0
    assert ((unbroken / "metrics.jsonl").read_bytes(), (unbroken / "result.json").stat().st_mtime_ns) == before
