"""Full-trace distillation: teach a model to write the expert's grading traces, by TRL's SFT: `python -m training.engine.distil FOLDER`."""

from __future__ import annotations

import sys
from typing import Any

from training.engine.artifacts import export, newest
from training.engine.faults import JobError
from training.engine.files import read_rows
from training.engine.job import Fields, Job, main, section
from training.engine.models import check_folder, load_model, prepare

NUMBER = (int, float)
FIELDS = {"model": str, "sft": dict, "examples": str}
OPTIONAL = {"score_tag": "score", "device_batch": None}
SFT: Fields = {"epochs": int, "learning_rate": NUMBER, "batch": int}
SFT_OPTIONAL: dict[str, Any] = {"max_steps": None, "save_every": None}


def run(job: Job) -> dict[str, Any]:
    """Train on the examples; the proxy is in FOLDER/proxy then. Which example comes when depends on the seed alone."""
    sft = section(job, "sft", SFT, SFT_OPTIONAL)
    if min(sft["epochs"], sft["batch"]) < 1 or sft["learning_rate"] <= 0:
        raise JobError(f"sft: epochs, batch and learning_rate must be above 0, not {sft}", "Correct them.")
    check_folder(job["model"], "model")
    examples = read_examples(job)
    if job.stopping:
        return {"status": "stopped", "step": 0}
    prepare()
    loaded = load_model(job["model"], "model")
    from training.engine.sft import assemble
    from training.engine.steps import train

    trainer, steps = assemble(job, sft, loaded, examples)
    train(trainer, steps, newest(steps.folder))
    saved = steps.newest
    assert saved is not None
    if steps.stopped:
        return {"status": "stopped", "step": saved.step}
    if job.rank == 0:
        export(saved, job.partial / "proxy", job.folder / "proxy")
    model = {"path": str(job.folder / "proxy"), "digest": saved.digest}
    return {"status": "done", "model": model, "examples": len(examples), "tokens": sum(map(len, trainer.train_dataset["input_ids"]))}


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
