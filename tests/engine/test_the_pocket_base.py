"""The engine on the shipped miniature: real stories, a real proxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.conftest import PLAN, ROOT, lines, result, run_here

BASE = ROOT / "training" / "pocket" / "base"
pytestmark = [pytest.mark.training, pytest.mark.skipif(not (BASE / "config.json").exists(), reason="the pocket base is not here")]


def test_the_pocket_policy_is_trained_on_what_the_pocket_proxy_writes(make_job, monkeypatch):
    from training.pocket.language import prompts
    from training.pocket.prompts import DOMAIN

    model = {"backend": "grading.models.transformers.TransformersModel", "options": {"path": str(BASE)}}
    options = {"prompts": [DOMAIN.grading_prompt], "model": model, "n": 2, "sampling": {"temperature": 1.0, "max_tokens": 96}}
    folder = make_job(
        "pocket",
        "rl",
        policy=str(BASE),
        stop=1,
        prompts=[{"id": i, "text": prompt.instructions} for i, prompt in enumerate(prompts()[:6])],
        reward={"who": "proxy", "judge": {"backend": "grading.graders.Grader", "options": options}},
        plan={**PLAN, "learning_rate": 3e-4, "policy_max_tokens": 80},
    )
    assert run_here(folder, monkeypatch) == 0
    assert Path(result(folder)["checkpoint"]["path"], "model.safetensors").exists()
    metrics = lines(folder, "metrics.jsonl")[0]
    assert metrics["finished_rate"] > 0.5
    assert metrics["unscored_rate"] < 0.5
