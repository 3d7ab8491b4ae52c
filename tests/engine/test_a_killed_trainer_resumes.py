"""kill -9 at any moment leaves the folder resumable, and nothing is asked or counted twice."""

from __future__ import annotations

import pytest

from tests.engine.conftest import change, lines, result, reward, run_here, run_job

pytestmark = pytest.mark.training


def test_a_trainer_killed_two_steps_after_its_checkpoint_ends_with_the_same_weights(make_job, unbroken, monkeypatch):
    folder = make_job("killed", "rl", stop=6)
    change(folder, reward=reward(kill=str(folder / "was-killed"), at=4))
    assert run_job(folder).returncode == -9
    assert not (folder / "result.json").exists()
    assert lines(folder, "metrics.jsonl")[-1]["step"] == 3
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-0002"]

    assert run_here(folder, monkeypatch) == 0
    assert result(folder)["checkpoint"]["digest"] == result(unbroken)["checkpoint"]["digest"]
    assert lines(folder, "rollouts.jsonl") == lines(unbroken, "rollouts.jsonl")


def test_a_verdict_that_was_given_before_the_kill_is_not_asked_for_again(make_job, monkeypatch):
    folder = make_job("moody", "rl", stop=4)
    change(folder, reward={**reward(kill=str(folder / "was-killed"), at=4, moody=True), "who": "expert"})
    assert run_job(folder).returncode == -9
    before = lines(folder, "rollouts.jsonl")
    assert before[-1]["step"] == 3

    assert run_here(folder, monkeypatch) == 0
    after = lines(folder, "rollouts.jsonl")
    assert after[: len(before)] == before
    assert [(row["step"], row["prompt"], row["index"]) for row in after] == sorted(
        {(row["step"], row["prompt"], row["index"]) for row in after}, key=[(row["step"], row["prompt"], row["index"]) for row in after].index
    )
    assert [line["reward"] for line in lines(folder, "metrics.jsonl") if line["step"] == 3] == [pytest.approx(_mean(before, 3))] * 2


def test_what_a_kill_left_half_made_is_not_taken_for_a_checkpoint(make_job, unbroken, monkeypatch):
    folder = make_job("half", "rl", stop=6)
    change(folder, reward=reward(stop=str(folder / "stop"), at=3))
    assert run_here(folder, monkeypatch) == 0
    half = folder / "checkpoints" / "step-0005"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    left = folder / "partial" / "checkpoint-5"
    left.mkdir(parents=True)

    assert run_here(folder, monkeypatch) == 0
    assert result(folder)["checkpoint"]["digest"] == result(unbroken)["checkpoint"]["digest"]
    assert not (folder / "partial").exists()


@pytest.mark.parametrize("kind", ["rl", "distil"])
def test_a_job_killed_between_its_last_checkpoint_and_its_result_does_no_step_more(make_job, monkeypatch, kind):
    sft = {"epochs": 2, "learning_rate": 1e-2, "batch": 4, "max_steps": 2}
    folder = make_job("last", kind, **({"sft": sft} if kind == "distil" else {"stop": 2}))
    assert run_here(folder, monkeypatch) == 0
    before, metrics = result(folder), lines(folder, "metrics.jsonl")
    (folder / "result.json").unlink()
    assert run_here(folder, monkeypatch) == 0
    assert result(folder) == before
    assert lines(folder, "metrics.jsonl") == metrics
    assert [line["step"] for line in metrics] == [1, 2]


def test_a_line_torn_by_a_crash_is_cut_off_and_the_rest_stays_where_it_is(make_job, monkeypatch):
    folder = make_job("torn", "rl", stop=4)
    change(folder, reward=reward(stop=str(folder / "stop"), at=2))
    assert run_here(folder, monkeypatch) == 0
    before = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "rollouts.jsonl")}
    for name in before:
        with (folder / name).open("ab") as file:
            file.write(b'{"step": 3, "prom')

    assert run_here(folder, monkeypatch) == 0
    assert all((folder / name).read_bytes().startswith(whole) for name, whole in before.items())
    assert [line["step"] for line in lines(folder, "metrics.jsonl")] == [1, 2, 3, 4]
    assert len(lines(folder, "rollouts.jsonl")) == 4 * 8


def _mean(rows, step):
    rewards = [row["reward"] for row in rows if row["step"] == step]
    return sum(rewards) / len(rewards)
