"""The real thing in small: the shipped base as the proxy, and rubrics written from what the pocket's expert says."""

from __future__ import annotations

import json
import random

import pytest

from grading.types import Case
from tests.engine.conftest import ROOT, lines, result, run_job
from training.pocket.expert import PocketExpert
from training.pocket.language import prompts, write_story
from training.pocket.prompts import DOMAIN

pytestmark = [pytest.mark.training, pytest.mark.slow]


def test_written_rubrics_bring_it_nearer_to_the_expert(tmp_path):
    rng, expert = random.Random(1), PocketExpert()
    tasks = rng.sample([prompt for prompt in prompts() if prompt.split == "train"], 14)
    cases = [Case(t.instructions, write_story(rng, t.object, t.place, rng.betavariate(0.8, 2.0))) for t in tasks for _ in range(6)]
    rows = [
        {
            "id": i,
            "group": i // 6,
            "instructions": case.instructions,
            "content": case.content,
            "score": v.score,
            "critique": v.critique,
            "deliberation": "",
        }
        for i, case in enumerate(cases)
        for v in [expert.verdict(case)]
    ]
    for name, part in (("validation", rows[:48]), ("examples", rows[48:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    model = {"backend": "grading.models.transformers.TransformersModel", "options": {"path": str(ROOT / "training" / "pocket" / "base")}}
    job = {
        "kind": "search",
        "name": "test/pocket",
        "seed": 1,
        "judge": {
            "backend": "grading.graders.Grader",
            "options": {"prompts": [DOMAIN.grading_prompt], "model": model, "sampling": {"max_tokens": 96}},
        },
        "method": "rubric",
        "writer": {"backend": "training.pocket.writer.PocketWriter", "options": {}},
        "rubric_prompt": DOMAIN.rubric_prompt,
        "grading_prompt": DOMAIN.grading_prompt,
        "candidates": 2,
        "keep": 2,
        "shown": 10,
        "draw": "random",
        "measure_now": True,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = run_job(tmp_path)
    assert done.returncode == 0, done.stderr
    now, *candidates = (row["alignment"]["value"] for row in lines(tmp_path, "candidates.jsonl"))
    assert now < 0.5 < 0.7 < min(candidates)
    assert result(tmp_path)["alignment"]["value"] > 0.7
