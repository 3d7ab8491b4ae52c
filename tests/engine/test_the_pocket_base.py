"""The engine on the shipped miniature: real stories, a real proxy."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from tests.engine.conftest import PLAN, ROOT, lines, result, run_here, write_rows

BASE = ROOT / "training" / "pocket" / "base"
pytestmark = [pytest.mark.training, pytest.mark.skipif(not (BASE / "config.json").exists(), reason="the pocket base is not here")]


def proxy(n):
    from training.pocket.prompts import DOMAIN

    model = {"backend": "grading.models.transformers.TransformersModel", "options": {"path": str(BASE)}}
    options = {"prompts": [DOMAIN.grading_prompt], "model": model, "n": n, "sampling": {"temperature": 1.0, "max_tokens": 96}}
    return {"backend": "grading.graders.Grader", "options": options}


def test_the_pocket_policy_is_trained_on_what_the_pocket_proxy_writes(make_job, monkeypatch):
    from training.pocket.language import prompts

    folder = make_job(
        "pocket",
        "rl",
        policy=str(BASE),
        stop=1,
        prompts=[{"id": i, "text": prompt.instructions} for i, prompt in enumerate(prompts()[:6])],
        reward={"who": "proxy", "judge": proxy(2)},
        plan={**PLAN, "learning_rate": 3e-4, "policy_max_tokens": 80},
    )
    assert run_here(folder, monkeypatch) == 0
    assert Path(result(folder)["checkpoint"]["path"], "model.safetensors").exists()
    metrics = lines(folder, "metrics.jsonl")[0]
    assert metrics["finished_rate"] > 0.5
    assert metrics["unscored_rate"] < 0.5


@pytest.mark.parametrize("show", ["full", "feedback"])
def test_the_pocket_proxy_writes_what_the_pocket_expert_means(make_job, monkeypatch, show):
    from grading.types import Case
    from training.pocket.expert import PocketExpert
    from training.pocket.language import prompts, write_story
    from training.pocket.prompts import DOMAIN

    rng, said = random.Random(0), []
    for i, prompt in enumerate(prompts()[:24]):
        case = Case(prompt.instructions, write_story(rng, prompt.object, prompt.place, rng.random()))
        verdict = PocketExpert().verdict(case)
        words = {"critique": verdict.critique, "deliberation": verdict.deliberation, "score": verdict.score}
        said.append({"id": i, "instructions": case.instructions, "content": case.content, **words})
    folder = make_job("rewrite", "rewrite", judge=proxy(1), context_prompt=DOMAIN.context_prompt, show=show, traces=3, tries=6)
    write_rows(folder / "examples.jsonl", said)
    assert run_here(folder, monkeypatch) == 0
    kept = [row for row in lines(folder, "traces.jsonl") if row["kept"]]
    assert len(kept) > 60
    assert np.corrcoef([said[row["id"]]["score"] for row in kept], [row["score"] for row in kept])[0, 1] > 0.9
    assert result(folder)["rejected"]["leak"] > 0
