"""Full-trace distillation: teach a model to write the expert's grading traces, by TRL's SFT: `python -m training.engine.distil FOLDER`."""

from __future__ import annotations

import sys
from typing import Any

from training.engine.faults import JobError
from training.engine.files import read_rows
from training.engine.job import Job, main
from training.engine.models import prepare
from training.engine.tuning import fit, read_probe, settings, trainable

FIELDS = {"model": str, "sft": dict, "examples": str}
OPTIONAL = {"score_tag": "score", "device_batch": None, "adapt": "all", "probe": None, "below": None}


def run(job: Job) -> dict[str, Any]:
    """Train on the examples; the proxy is in FOLDER/proxy then. Which example comes when depends on the seed alone.

    `below`: the adapter that the job's `model` has merged in already, where a LoRA is trained and a server holds only the model below them both.
    """
    sft = settings(job)
    examples, cases = read_examples(job), read_probe(job)
    if job.stopping and job.world == 1:  # several stop together, between steps
        return {"status": "stopped", "step": 0}
    prepare()
    loaded = trainable(job)
    from training.engine.sft import assemble

    trainer, steps = assemble(job, sft, loaded, examples)
    result = fit(job, trainer, steps, cases)
    tokens = sum(map(len, trainer.train_dataset["input_ids"]))
    return result if steps.stopped else {**result, "examples": len(examples), "tokens": tokens}


def read_examples(job: Job) -> list[dict[str, str]]:
    """Raises `JobError` for a file that is not there, is empty, or has a row without prompt or completion."""
    path = job.folder / job["examples"]
    examples = read_rows(path)
    for number, example in enumerate(examples, 1):
        if not all(isinstance(example.get(key), str) and example[key].strip() for key in ("prompt", "completion")):
            raise JobError(f"{path}: example {number} has no prompt or no completion", "Give every example both, as text.")
    if not examples:
        raise JobError(f"{path} holds no examples", "Distil when there is feedback to learn from.")
    return examples


if __name__ == "__main__":
    sys.exit(main("distil", FIELDS, OPTIONAL, run))
