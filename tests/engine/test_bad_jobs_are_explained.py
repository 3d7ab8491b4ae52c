"""A job that cannot run says what is wrong and what to do, in result.json."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.engine.conftest import LETTERS, PLAN, environment, result, run_here

MODULE = [sys.executable, "-m", "training.engine.grade"]
UNKNOWN_JUDGE = {"who": "proxy", "judge": {"backend": "tests.engine.judges.Nobody"}}


@pytest.mark.parametrize(
    ("kind", "changes", "error", "advice"),
    [
        ("rl", {"policy": "/nowhere/model"}, "policy: there is no model in /nowhere/model (no config.json)", "save_pretrained"),
        ("sample", {"model": "Qwen/Qwen3-8B"}, "model: there is no model in Qwen/Qwen3-8B", "downloaded into a folder first"),
        ("distil", {"model": "/nowhere/model"}, "model: there is no model in /nowhere/model", "save_pretrained"),
        ("rl", {"lerning_rate": 1}, "has keys that mean nothing here: lerning_rate", "Known are kind, name, seed, policy"),
        ("rl", {"plan": {**PLAN, "extra": 1}}, "job.json, plan has keys that mean nothing here: extra", "Known are"),
        ("rl", {"plan": {"group": 4}}, "job.json, plan lacks learning_rate", "Add what is missing"),
        ("rl", {"start": "0"}, "start must be int, not '0'", "Correct it"),
        ("rl", {"stop": 0}, "no step to do from start 0 to stop 0", "stop must be above start"),
        ("rl", {"prompts": [{"id": 1, "text": "x"}]}, "a step takes 2 different prompts and the job has 1", "Import more train prompts"),
        ("rl", {"resume_from": "/nowhere"}, "resume_from: /nowhere is no whole checkpoint", "trainer_state"),
        ("rl", {"reward": {"who": "nobody", "judge": {}}}, "who is 'nobody'", "proxy or expert"),
        ("grade", {"cases": [{"id": 1}]}, "a case lacks id, instructions or content", "all three"),
        ("grade", {"cases": None}, "there is no", "beside job.json"),
        ("grade", {"judge": UNKNOWN_JUDGE["judge"]}, "tests.engine.judges has no Nobody", "Correct the configuration"),
        ("rewrite", {"tries": 1}, "traces is 2 and tries 1", "try at least as many"),
        ("rewrite", {"judge": LETTERS}, "only a language model can be shown an expert's words", "grading.graders.Grader"),
        ("rewrite", {"show": "all"}, "show must be full or feedback, not 'all'", "Correct the configuration"),
        ("rewrite", {"context_prompt": "{GRADING}"}, "the context prompt has no {EXPERT}", "Correct the configuration"),
        ("distil", {"sft": {"epochs": 0, "learning_rate": 1e-3, "batch": 4}}, "must be above 0", "Correct them"),
    ],
)
def test_what_is_wrong_and_what_to_do_are_said(make_job, monkeypatch, kind, changes, error, advice):
    folder = make_job("bad", kind, **changes)
    assert run_here(folder, monkeypatch) == 1
    assert result(folder)["status"] == "failed"
    assert error in result(folder)["error"]
    assert advice in result(folder)["advice"]


def test_rows_without_words_are_named(make_job, monkeypatch):
    folder = make_job("rows", "distil")
    (folder / "examples.jsonl").write_text('{"prompt": "p", "completion": "c"}\n{"prompt": "p", "completion": ""}\n')
    assert run_here(folder, monkeypatch) == 1
    assert "example 2 has no prompt or no completion" in result(folder)["error"]
    (folder / "examples.jsonl").write_text('{"prompt": "p", "completion": "c"}\n{"prompt": "p", "compl')
    assert run_here(folder, monkeypatch) == 1
    assert "examples.jsonl, line 2" in result(folder)["error"]
    (folder / "examples.jsonl").write_text("")
    assert run_here(folder, monkeypatch) == 1
    assert "holds no examples" in result(folder)["error"]


@pytest.mark.training
def test_damaged_weights_and_prompts_too_long_are_told_before_any_step(make_job, tiny, tmp_path, monkeypatch):
    damaged = shutil.copytree(tiny, tmp_path / "damaged-model")
    (damaged / "model.safetensors").write_bytes(b"not weights")
    folder = make_job("damaged", "rl", policy=str(damaged))
    assert run_here(folder, monkeypatch) == 1
    assert f"policy: cannot load the model in {damaged}" in result(folder)["error"]

    folder = make_job("long", "rl", prompts=[{"id": i, "text": "word " * 300} for i in range(5)])
    assert run_here(folder, monkeypatch) == 1
    assert "the policy knows no more than 256" in result(folder)["error"]


def test_a_job_of_another_kind_and_one_that_is_no_json_are_told_apart(make_job, monkeypatch, capsys):
    folder = make_job("odd", "grade")
    (folder / "job.json").write_text(json.dumps({"kind": "grade"}))
    assert run_here(folder, monkeypatch) == 1
    assert "lacks judge, name, seed" in result(folder)["error"]
    assert "lacks judge, name, seed" in capsys.readouterr().err
    for text, words in (("{", "cannot be read"), ("{}", "is not a grade job"), (None, "there is no ")):
        (folder / "job.json").unlink()
        if text:
            (folder / "job.json").write_text(text)
        process = subprocess.run([*MODULE, str(folder)], env=environment(), capture_output=True, text=True, check=False)
        assert process.returncode == 1
        assert words in result(folder)["error"]
    assert subprocess.run([*MODULE, str(folder / "nowhere")], env=environment(), capture_output=True, check=False).returncode == 2
