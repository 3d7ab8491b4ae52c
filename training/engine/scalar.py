"""A scalar proxy: teach a model to say the expert's scores by a number alone (paper, section 4.3): `python -m training.engine.scalar FOLDER`."""

from __future__ import annotations

import sys
from typing import Any

from training.engine.faults import JobError
from training.engine.files import read_rows
from training.engine.job import Job, main
from training.engine.models import prepare
from training.engine.tuning import NUMBER, fit, read_probe, settings, trainable

FIELDS = {"model": str, "sft": dict, "examples": str, "score_range": list}
OPTIONAL = {"device_batch": None, "adapt": "all", "probe": None}


def run(job: Job) -> dict[str, Any]:
    """Train on the examples; the proxy is in FOLDER/proxy then, for a `grading.scalar.ScalarJudge` with the same range of scores.

    A model that has a scalar head already goes on with it. Which example comes when depends on the seed alone.
    """
    sft = settings(job)
    examples, cases = read_examples(job), read_probe(job, scalar=True)
    if job.stopping and job.world == 1:  # several stop together, between steps
        return {"status": "stopped", "step": 0}
    prepare()
    loaded = trainable(job, scalar=True)
    from training.engine.regression import assemble

    trainer, steps = assemble(job, sft, loaded, examples)
    result = fit(job, trainer, steps, cases, scalar=True)
    return result if steps.stopped else {**result, "examples": len(examples)}


def read_examples(job: Job) -> list[dict[str, Any]]:
    """Raises `JobError` for a range that is none, and for a file that is not there, is empty, or has a row without prompt or score in the range."""
    bounds = job["score_range"]
    if len(bounds) != 2 or not all(map(_number, bounds)) or not bounds[0] < bounds[1]:
        raise JobError(f"score_range must be [lowest, highest], not {bounds!r}", "Give the domain's range of scores.")
    path = job.folder / job["examples"]
    examples = read_rows(path)
    for number, example in enumerate(examples, 1):
        if not isinstance(example.get("prompt"), str) or not example["prompt"].strip():
            raise JobError(f"{path}: example {number} has no prompt", "Give every example a prompt, as text.")
        if not _number(example.get("score")) or not bounds[0] <= example["score"] <= bounds[1]:
            raise JobError(
                f"{path}: example {number} has the score {example.get('score')!r}, which is none from {bounds[0]} to {bounds[1]}",
                "Leave unscored texts out, or correct score_range.",
            )
    if not examples:
        raise JobError(f"{path} holds no examples", "Train when there are scores to learn from.")
    return examples


def _number(value: Any) -> bool:
    return isinstance(value, NUMBER) and not isinstance(value, bool)


if __name__ == "__main__":
    sys.exit(main("scalar", FIELDS, OPTIONAL, run))
