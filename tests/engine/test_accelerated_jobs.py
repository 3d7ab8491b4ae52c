"""Jobs that several processes carry out together, started by `accelerate launch` as the training worker starts them: here by gloo, on processors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from accelerate.commands.launch import launch_command_parser

from tests.engine.conftest import LETTERS, PLAN, ROOT, environment, lines, result, run_here
from training import jobs

pytestmark = [pytest.mark.training, pytest.mark.slow]


@pytest.fixture
def start(settings):
    """start(folder, kind): the launcher of a job for two processes; `module`, where it is not the engine's."""
    settings.ACCELERATE = "2"

    def launch(folder, kind, module=None):
        command = [sys.executable, *jobs.launcher(kind), "-m", module or f"training.engine.{kind}", str(folder)]
        with (folder / "log.txt").open("ab") as log:
            return subprocess.Popen(command, env=environment(), cwd=folder, stdout=log, stderr=log, start_new_session=True)

    return launch


def log(folder):
    return (folder / "log.txt").read_text()


def test_rl_does_every_rollout_once_and_goes_on_exactly_after_its_launcher_was_killed(make_job, start):
    whole, killed = (make_job(name, "rl", stop=4) for name in ("whole", "killed"))
    assert start(whole, "rl").wait(200) == 0, log(whole)

    rollouts = lines(whole, "rollouts.jsonl")
    keys = [(row["step"], row["prompt"], row["index"]) for row in rollouts]
    assert len(set(keys)) == len(keys) == 4 * PLAN["prompts_per_step"] * PLAN["group"]
    assert {row["index"] for row in rollouts} == set(range(int(PLAN["group"])))
    metrics = lines(whole, "metrics.jsonl")
    assert [(line["step"], line["done"], line["total"]) for line in metrics] == [(1, 1, 4), (2, 2, 4), (3, 3, 4), (4, 4, 4)]
    for line in metrics:  # over the rollouts of both processes
        rewards = [row["reward"] for row in rollouts if row["step"] == line["step"]]
        assert line["reward"] == pytest.approx(sum(rewards) / len(rewards))
    assert all(line["grad_norm"] > 0 for line in metrics)

    launcher = start(killed, "rl")
    deadline = time.monotonic() + 200
    while not (killed / "checkpoints" / "step-0002").exists():
        assert launcher.poll() is None, log(killed)
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    while held(killed):
        assert time.monotonic() < deadline, "a process outlives its launcher"
        time.sleep(0.02)
    assert not (killed / "result.json").exists()
    assert start(killed, "rl").wait(200) == 0, log(killed)
    assert result(killed)["checkpoint"]["digest"] == result(whole)["checkpoint"]["digest"]
    by_key = {(row["step"], row["prompt"], row["index"]): row for row in lines(killed, "rollouts.jsonl")}
    assert [by_key[key] for key in keys] == rollouts


def held(folder):
    import fcntl

    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def test_distillation_learns_what_one_process_learns(make_job, start, monkeypatch):
    alone, together = (make_job(name, "distil") for name in ("alone", "together"))
    assert run_here(alone, monkeypatch) == 0
    assert start(together, "distil").wait(200) == 0, log(together)
    assert result(together)["examples"] == result(alone)["examples"]
    for name, tolerance in (("loss", 1e-4), ("grad_norm", 1e-3)):  # sums in another order
        steps = [[line[name] for line in lines(folder, "metrics.jsonl")] for folder in (together, alone)]
        assert steps[0] == pytest.approx(steps[1], rel=tolerance)


def test_what_is_wrong_is_said_as_when_one_process_does_it(make_job, start):
    folder = make_job("wrong", "rl", reward={"who": "nobody", "judge": LETTERS})
    assert start(folder, "rl").wait(200) != 0
    assert result(folder) == {"status": "failed", "error": "reward: who is 'nobody'", "advice": "Say proxy or expert."}


@pytest.mark.parametrize(
    ("fails", "who"),
    [
        pytest.param({"1": 0, "0": 1}, 0, id="the first has time to say it itself"),
        pytest.param({"1": 0}, 1, id="another says what the first does not know"),
        pytest.param({"0": 0}, 0, id="the first alone"),
    ],
)
def test_whichever_process_fails_first_the_reason_is_kept(tmp_path, start, monkeypatch, fails, who):
    monkeypatch.setenv("UNEVEN", json.dumps(fails))
    (tmp_path / "job.json").write_text(json.dumps({"kind": "uneven", "name": "uneven", "seed": 1}))
    (tmp_path / "result.json").write_text(json.dumps({"status": "failed", "error": "as last time", "advice": ""}))
    assert start(tmp_path, "rl", module="tests.engine.uneven").wait(200) != 0
    assert result(tmp_path) == {"status": "failed", "error": f"process {who} met a wall", "advice": "Go around it."}, log(tmp_path)


def test_the_configuration_that_comes_along_is_one_that_accelerate_reads():
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import DistributedType

    read = load_config_from_file(str(ROOT / "docs" / "accelerate-fsdp.yaml"))
    assert (read.distributed_type, read.mixed_precision, read.num_processes) == (DistributedType.FSDP, "bf16", 4)
    known = launch_command_parser().parse_args(["-m", "training.engine.rl"])
    assert all(hasattr(known, name) for name in read.fsdp_config)


def test_only_jobs_that_train_are_launched_and_only_where_the_operator_says_so(settings):
    settings.ACCELERATE = "/etc/accelerate.yaml"
    assert jobs.launcher("distil") == ["-m", "accelerate.commands.launch", "--config_file", "/etc/accelerate.yaml", "--main_process_port", "0"]
    assert jobs.launcher("sample") == jobs.launcher("grade") == []
    settings.ACCELERATE = ""
    assert jobs.launcher("rl") == []
