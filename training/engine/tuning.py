"""What the fine-tuning jobs share: their settings, all parameters or LoRA, and the model they leave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.engine.artifacts import Saved, digest, export, newest, publish
from training.engine.faults import JobError
from training.engine.files import read_rows
from training.engine.job import Fields, Job, derive, section
from training.engine.models import check_folder, load_model
from training.engine.stacking import stack

if TYPE_CHECKING:
    from grading.models.transformers import Loaded
    from training.engine.sft import InOrder
    from training.engine.steps import Steps

NUMBER = (int, float)
SFT: Fields = {"epochs": int, "learning_rate": NUMBER, "batch": int}
SFT_OPTIONAL: dict[str, Any] = {"max_steps": None, "save_every": None}
PROBE: Fields = {"judge": dict, "cases": str, "at": list}
CASE = {"id", "group", "instructions", "content", "score"}


def settings(job: Job) -> dict[str, Any]:
    """The job's section sft. Raises `JobError`, also for a `model` or an `adapt` that will not do."""
    sft = section(job, "sft", SFT, SFT_OPTIONAL)
    if min(sft["epochs"], sft["batch"]) < 1 or sft["learning_rate"] <= 0:
        raise JobError(f"sft: epochs, batch and learning_rate must be above 0, not {sft}", "Correct them.")
    check_folder(job["model"], "model")
    if rank(job) is None and job.data.get("below"):
        raise JobError("below: there is an adapter below only where a LoRA is trained", 'Leave it out, or set "adapt" to {"lora": RANK}.')
    return sft


def rank(job: Job) -> int | None:
    """The rank of the LoRA to train; None where all parameters are trained. Raises `JobError`."""
    match job["adapt"]:
        case "all":
            return None
        case {"lora": int(number), **others} if number >= 1 and not isinstance(number, bool) and not others:
            return number
    raise JobError(f'adapt must be "all" or {{"lora": RANK}} with a rank of 1 or more, not {job["adapt"]!r}', "Correct it.")


def read_probe(job: Job, *, scalar: bool = False) -> list[dict[str, Any]]:
    """The expert's scores to probe against; none where no probe is wanted. Raises `JobError` for a probe that cannot be made."""
    if job["probe"] is None:
        return []
    probe = section(job, "probe", PROBE)
    model = probe["judge"].get("options", {}).get("model")
    if not isinstance(model, dict):
        raise JobError("job.json, probe: its judge has no model to replace", "Give a judge with a model in this process among its options.")
    if scalar and "backend" in model:
        raise JobError("job.json, probe: the model of its judge writes, and this job's does not", "Give a grading.scalar.ScalarJudge.")
    if not all(isinstance(samples, int) and samples >= 0 for samples in probe["at"]):
        raise JobError(f"job.json, probe: at must list numbers of samples, not {probe['at']!r}", "Give whole numbers from 0 on.")
    path = job.folder / probe["cases"]
    cases = read_rows(path)
    for number, case in enumerate(cases, 1):
        if not set(case) >= CASE:
            raise JobError(f"{path}: case {number} lacks {', '.join(sorted(CASE - set(case)))}", "Give every case all of them.")
    return cases


def trainable(job: Job, *, scalar: bool = False) -> Loaded:
    """The job's model, as its trainer is to have it: as it is, or with a new LoRA on all linear layers beside the frozen weights.

    The head of a scalar model is trained as a whole, also beside a LoRA.
    """
    loaded = load_model(job["model"], "model", scalar=scalar)
    size = rank(job)
    if size is None:
        return loaded
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    set_seed(derive(job.seed, "lora"))
    # Alpha is the rank's double, so that the size of a step does not depend on the rank.
    lora = LoraConfig(task_type="SEQ_CLS" if scalar else "CAUSAL_LM", r=size, lora_alpha=2 * size, lora_dropout=0.0, target_modules="all-linear")
    return replace(loaded, model=get_peft_model(loaded.model, lora))


def fit(job: Job, trainer: InOrder, steps: Steps, cases: list[dict[str, Any]], *, scalar: bool = False) -> dict[str, Any]:
    """Train to the end, or until the job is told to stop, from the newest checkpoint on; with `cases`, the job's probe looks on. The job's result."""
    from training.engine.probe import Probe
    from training.engine.steps import train

    if cases:
        trainer.add_callback(Probe(job, trainer, cases, scalar=scalar))
    train(trainer, steps, newest(steps.folder))
    saved = steps.newest
    assert saved is not None
    if steps.stopped:
        return {"status": "stopped", "step": saved.step}
    return {"status": "done", "model": deliver(job, saved, scalar=scalar)}


def deliver(job: Job, saved: Saved, *, scalar: bool = False) -> dict[str, str]:
    """Put the trained model into FOLDER/proxy, whole; a LoRA also by itself into FOLDER/adapter, to be served with the job's `model` as its base.

    Where that has an adapter merged in already (`below`), FOLDER/served is both in one, for the base of the first. `adapter` in the result is what to
    serve; scalar heads are not.
    """
    proxy, weights = job.folder / "proxy", saved.digest
    if job.rank == 0 and rank(job) is None:
        export(saved, job.partial / "proxy", proxy)
    elif job.rank == 0:
        adapter, made = job.folder / "adapter", job.partial / "proxy"
        export(saved, job.partial / "adapter", adapter)
        merge(job, adapter, made, scalar=scalar)
        weights = digest(made)
        publish(made, proxy, step=saved.step, offset=saved.offset, digest=weights)
        if below := job.data.get("below"):
            both = job.partial / "served"
            stack([Path(below), adapter], both)
            adapter = job.folder / "served"
            publish(both, adapter, step=saved.step, offset=saved.offset, digest=weights)
        if not scalar:
            return {"path": str(proxy), "digest": weights, "adapter": str(adapter)}
    return {"path": str(proxy), "digest": weights}


def merge(job: Job, adapter: Path, folder: Path, *, scalar: bool = False) -> None:
    """Write the job's model with the LoRA in `adapter` added to its weights to `folder`: in fp32, since bf16 would round most of it away."""
    from peft import PeftModel

    loaded = load_model(job["model"], "model", scalar=scalar)
    PeftModel.from_pretrained(loaded.model, str(adapter)).merge_and_unload().save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
