"""Full-trace distillation: teach a model to write the expert's grading traces, by TRL's SFT: `python -m training.engine.distil FOLDER`."""

from __future__ import annotations

import sys
from typing import Any

from training.engine.artifacts import newest
from training.engine.faults import JobError
from training.engine.files import read_rows
from training.engine.job import Fields, Job, main, section
from training.engine.models import check_folder, prepare
from training.engine.tuning import deliver, settings, trainable

FIELDS = {"model": str, "sft": dict, "examples": str}
OPTIONAL = {"score_tag": "score", "device_batch": None, "adapt": "all", "probe": None}
PROBE: Fields = {"judge": dict, "cases": str, "at": list}
CASE = {"id", "group", "instructions", "content", "score"}


def run(job: Job) -> dict[str, Any]:
    """Train on the examples; the proxy is in FOLDER/proxy then. Which example comes when depends on the seed alone.

    With `probe`, its judge is measured on the way with the model as far as it has come: see `training.engine.probe`.
    """
    sft = settings(job)
    check_folder(job["model"], "model")
    examples, cases = read_examples(job), read_probe(job)
    if job.stopping:
        return {"status": "stopped", "step": 0}
    prepare()
    loaded = trainable(job)
    from training.engine.probe import Probe
    from training.engine.sft import assemble
    from training.engine.steps import train

    trainer, steps = assemble(job, sft, loaded, examples)
    if cases:
        trainer.add_callback(Probe(job, trainer, sft["batch"], len(examples) * sft["epochs"], cases))
    train(trainer, steps, newest(steps.folder))
    saved = steps.newest
    assert saved is not None
    if steps.stopped:
        return {"status": "stopped", "step": saved.step}
    tokens = sum(map(len, trainer.train_dataset["input_ids"]))
    return {"status": "done", "model": deliver(job, saved), "examples": len(examples), "tokens": tokens}


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


def read_probe(job: Job) -> list[dict[str, Any]]:
    """The expert's scores to probe against, none where there is no probe. Raises `JobError` for a probe that cannot be made."""
    if job["probe"] is None:
        return []
    probe = section(job, "probe", PROBE)
    if not isinstance(probe["judge"].get("options", {}).get("model"), dict):
        raise JobError("job.json, probe: its judge has no model to replace", "Give a judge with a model in this process among its options.")
    if not probe["at"] or not all(isinstance(samples, int) and samples >= 0 for samples in probe["at"]):
        raise JobError(f"job.json, probe: at must list numbers of samples, not {probe['at']!r}", "Give whole numbers from 0 on.")
    path = job.folder / probe["cases"]
    cases = read_rows(path)
    for number, case in enumerate(cases, 1):
        if not set(case) >= CASE:
            raise JobError(f"{path}: case {number} lacks {', '.join(sorted(CASE - set(case)))}", "Give every case all of them.")
    if not cases:
        raise JobError(f"{path} holds no cases", "Probe where there are verdicts to hold the proxy against.")
    return cases


if __name__ == "__main__":
    sys.exit(main("distil", FIELDS, OPTIONAL, run))
