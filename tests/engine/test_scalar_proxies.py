"""A scalar proxy is taught scores by the Huber loss, and only scores."""

from __future__ import annotations

import json
import os
import signal
import time
from random import Random

import numpy as np
import pytest

from grading.types import Case
from tests.engine.conftest import change, lines, result, run_here, start_job, write_rows
from training.engine.artifacts import digest
from training.engine.verdicts import Bench

pytestmark = pytest.mark.training
SFT = {"epochs": 2, "learning_rate": 1e-2, "batch": 4}


def judged(folder, texts):
    judge = {"backend": "grading.scalar.ScalarJudge", "options": {"prompt": "Judge: {CONTENT}", "model": {"path": str(folder / "proxy")}}}
    return [verdict.score for verdict in Bench(judge).grade([Case("", text) for text in texts], 0)]


def test_the_loss_is_quadratic_up_to_a_tenth_of_the_range_and_straight_beyond():
    import torch

    from training.engine.regression import loss

    class Outputs:
        logits = torch.tensor([[0.5], [0.5], [0.0], [1.0]])

    labels = torch.tensor([0.55, 0.6, 0.3, 0.2])
    # Errors of .05, .1, .3, .8: .05^2 / 2, .1^2 / 2, .1 (.3 - .05), .1 (.8 - .05)
    assert float(loss(Outputs, labels, torch.tensor(4))) == pytest.approx((0.00125 + 0.005 + 0.025 + 0.075) / 4)
    assert float(loss(Outputs, labels, torch.tensor(8))) == pytest.approx((0.00125 + 0.005 + 0.025 + 0.075) / 8)


def test_a_new_head_says_the_lowest_score_and_scores_count_by_their_place_in_the_range(make_job, monkeypatch):
    folder = make_job("huber", "scalar", score_range=[1, 5])
    write_rows(folder / "examples.jsonl", [{"prompt": f"Judge {i}", "score": 2} for i in range(8)])
    assert run_here(folder, monkeypatch) == 0
    # 2 of 1..5 is .25 of the unit range: .1 (.25 - .05)
    assert lines(folder, "metrics.jsonl")[0]["loss"] == pytest.approx(0.02)


def test_a_batch_in_parts_is_the_same_batch(make_job, monkeypatch):
    losses = []
    for name, size in (("whole", None), ("parts", 1)):
        folder = make_job(name, "scalar", device_batch=size)
        assert run_here(folder, monkeypatch) == 0
        losses.append([line["loss"] for line in lines(folder, "metrics.jsonl")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_rule_is_learned_and_holds_on_texts_not_seen(make_job, monkeypatch):
    rng = Random(0)
    texts = [" ".join(rng.choices(["key", "tree", "old"], k=6)) for _ in range(260)]
    rule = [100 * text.split().count("key") / 6 for text in texts]
    folder = make_job("rule", "scalar", sft={"epochs": 8, "learning_rate": 5e-3, "batch": 16})
    write_rows(folder / "examples.jsonl", [{"prompt": f"Judge: {t}", "score": s} for t, s in zip(texts[:200], rule[:200], strict=True)])
    assert run_here(folder, monkeypatch) == 0
    assert np.corrcoef(judged(folder, texts[200:]), rule[200:])[0, 1] > 0.9


def test_a_realigned_model_goes_on_with_its_head(make_job, monkeypatch):
    first = make_job("first", "scalar", sft={"epochs": 10, "learning_rate": 1e-2, "batch": 4})
    assert run_here(first, monkeypatch) == 0
    second = make_job("second", "scalar", model=str(first / "proxy"), sft={**SFT, "learning_rate": 1e-9})
    assert run_here(second, monkeypatch) == 0
    texts = ["the old tree", "the old tree good good"]
    assert judged(second, texts) == pytest.approx(judged(first, texts), abs=0.01)
    assert max(judged(first, texts)) > 0


@pytest.mark.parametrize("adapt", ["all", {"lora": 2}])
def test_a_scalar_job_that_is_killed_ends_with_the_same_proxy(make_job, monkeypatch, adapt):
    changes = {"adapt": adapt, "sft": {"epochs": 24, "learning_rate": 1e-2, "batch": 4, "save_every": 5}}
    whole, broken = make_job("whole", "scalar", **changes), make_job("broken", "scalar", **changes)
    assert run_here(whole, monkeypatch) == 0
    process = start_job(broken)
    deadline = time.monotonic() + 60
    while not (broken / "checkpoints" / "step-0010").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -9
    assert not (broken / "result.json").exists()
    assert run_here(broken, monkeypatch) == 0
    assert result(broken)["model"] == {"path": str(broken / "proxy"), "digest": result(whole)["model"]["digest"]}
    assert digest(broken / "proxy") == digest(whole / "proxy") == result(whole)["model"]["digest"]


def test_scores_outside_the_range_and_prompts_too_long_are_named(make_job, monkeypatch):
    for name, row, words in (
        ("outside", {"prompt": "Judge", "score": 101}, "example 2 has the score 101, which is none from 0 to 100"),
        ("unscored", {"prompt": "Judge", "score": None}, "example 2 has the score None"),
        ("nan", {"prompt": "Judge", "score": float("nan")}, "example 2 has the score nan"),
        ("silent", {"prompt": " ", "score": 1}, "example 2 has no prompt"),
        ("long", {"prompt": "xyz" * 200, "score": 1}, "the model knows no more than 256"),
    ):
        folder = make_job(name, "scalar")
        (folder / "examples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ({"prompt": "Judge", "score": 7}, row)))
        assert run_here(folder, monkeypatch) == 1
        assert words in result(folder)["error"]
    change(folder, score_range=[3, 3])
    assert run_here(folder, monkeypatch) == 1
    assert "score_range must be [lowest, highest], not [3, 3]" in result(folder)["error"]
