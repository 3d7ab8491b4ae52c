"""A small training engine: real processes that keep the contract of job folders, with arithmetic in place of language models.

A policy is a number (its skill) in a model folder; RL raises it. Stories get longer on the same words as skill grows, so the pocket expert has
something to judge. All that is random depends on the job's seed, so that a run that was disturbed can be compared with one that was not.
TOY_SECONDS: how long a step takes. TOY_FAIL: a line "KIND message", for jobs that are to fail.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from training.engine import artifacts
from training.engine.faults import JobError
from training.engine.job import Job

TEXT = (
    "Mia was a {OBJECT} maker. One day the {PLACE} was closed by a storm. Mia looked for shelter in the {PLACE}. "
    "The shelter kept the {OBJECT} dry. After that she never feared the rain again."
)
STORY = TEXT.split()


def save_model(folder: Path, skill: int) -> str:
    """A model folder with the skill in it; its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    save_file({"skill": np.array([skill])}, folder / "model.safetensors")
    return artifacts.digest(folder)


def load_skill(folder: str) -> int:
    return int(load_file(Path(folder) / "model.safetensors")["skill"][0])


def pause(job: Job) -> None:
    """A step takes its time, and may be one that fails."""
    time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
    kind, _, message = os.environ.get("TOY_FAIL", "").partition(" ")
    if kind == job["kind"]:
        raise JobError(message, "Mend it.")


def rollout(job: Job, request: str, step: int, prompt: dict[str, Any], index: int, skill: int) -> dict[str, Any]:
    random = Random(f"{job.seed}/{request}/{step}/{prompt['text']}/{index}")
    words = STORY[: 6 + min(len(STORY) - 6, skill + random.randrange(12))]
    subject = dict(zip(("OBJECT", "PLACE"), prompt["text"].rstrip(".").split()[6::3], strict=True))
    text = " ".join(words).format(**subject) + random.choice([".", " and then", "!"])
    return {
        "request": request,
        "step": step,
        "prompt": prompt["id"],
        "index": index,
        "completion": text,
        "content": text,
        "finished": True,
        "tokens": len(words),
        "sampling": {},
        "checkpoint": job.data.get("checkpoint", ""),
        "grades": [],
    }


def grades(seed: object, skill: int, text: str, n: int) -> list[dict[str, Any]]:
    """n traces; every tenth or so has no score. A proxy of more skill is less noisy."""
    random = Random(f"{seed}/{text}")
    found = []
    for _ in range(n):
        unscored = random.random() < 0.1
        score = None if unscored else float(min(100, max(0, len(text) // 3 + random.randrange(-20, 21) // (1 + skill))))
        found.append({"score": score, "critique": "Words.", "deliberation": "", "raw": "", "unscored_reason": "no score" if unscored else ""})
    return found


def judge_skill(judge: dict[str, Any]) -> int:
    model = judge["options"]["model"]
    return load_skill(model["options"]["path"] if "options" in model else model["path"])
