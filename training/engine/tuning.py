"""What the fine-tuning jobs share: their settings, all parameters or LoRA, and the model they leave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.engine.artifacts import Saved, digest, export, publish
from training.engine.faults import JobError
from training.engine.job import Fields, Job, derive, section
from training.engine.models import load_model

if TYPE_CHECKING:
    from grading.models.transformers import Loaded

NUMBER = (int, float)
SFT: Fields = {"epochs": int, "learning_rate": NUMBER, "batch": int}
SFT_OPTIONAL: dict[str, Any] = {"max_steps": None, "save_every": None}


def settings(job: Job) -> dict[str, Any]:
    """The job's section sft. Raises `JobError`, also for an `adapt` that will not do."""
    sft = section(job, "sft", SFT, SFT_OPTIONAL)
    if min(sft["epochs"], sft["batch"]) < 1 or sft["learning_rate"] <= 0:
        raise JobError(f"sft: epochs, batch and learning_rate must be above 0, not {sft}", "Correct them.")
    rank(job)
    return sft


def rank(job: Job) -> int | None:
    """The rank of the LoRA to train; None where all parameters are trained. Raises `JobError`."""
    match job["adapt"]:
        case "all":
            return None
        case {"lora": int(number), **others} if number >= 1 and not isinstance(number, bool) and not others:
            return number
    raise JobError(f'adapt must be "all" or {{"lora": RANK}} with a rank of 1 or more, not {job["adapt"]!r}', "Correct it.")


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


def deliver(job: Job, saved: Saved, *, scalar: bool = False) -> dict[str, str]:
    """Put the trained model into FOLDER/proxy, whole; a LoRA also by itself into FOLDER/adapter, to be served with the job's `model` as its base."""
    proxy, weights = job.folder / "proxy", saved.digest
    if job.rank == 0 and rank(job) is None:
        export(saved, job.partial / "proxy", proxy)
    elif job.rank == 0:
        export(saved, job.partial / "adapter", job.folder / "adapter")
        made = job.partial / "proxy"
        merge(job, job.folder / "adapter", made, scalar=scalar)
        weights = digest(made)
        publish(made, proxy, step=saved.step, offset=saved.offset, digest=weights)
    return {"path": str(proxy), "digest": weights}


def merge(job: Job, adapter: Path, folder: Path, *, scalar: bool = False) -> None:
    """Write the job's model with the LoRA in `adapter` added to its weights to `folder`: in fp32, since bf16 would round most of it away."""
    from peft import PeftModel

    loaded = load_model(job["model"], "model", scalar=scalar)
    PeftModel.from_pretrained(loaded.model, str(adapter)).merge_and_unload().save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
