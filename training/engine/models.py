"""Models for training: read in single precision, with the tokenizer they are served with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grading.errors import ConfigurationError
from training.engine.faults import JobError

if TYPE_CHECKING:
    from grading.models.transformers import Loaded

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


def prepare() -> None:
    """Set this process up for a job; call it before torch is first imported.

    One thread unless OMP_NUM_THREADS says otherwise: arms run side by side as processes, and the same number of threads is what makes a
    resumed run the same to the last bit.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def check_folder(path: str, key: str) -> None:
    """Raises `JobError` where `path`, the value of `key` in job.json, is no readable model folder."""
    try:
        found = Path(path, "config.json").is_file()
        if found:
            Path(path, "config.json").read_bytes()
    except OSError as exc:
        raise JobError(f"{key}: {path} cannot be read: {exc}", "Give this user access to the folder.") from exc
    if not found:
        raise JobError(
            f"{key}: there is no model in {path} (no config.json)",
            "Give a folder written by save_pretrained; a model from the Hugging Face Hub must be downloaded into a folder first.",
        )


def load_model(path: str, key: str, *, scalar: bool = False) -> Loaded:
    """The model in `path` in fp32 on the CPU (a trainer moves it), its tokenizer and its stop tokens. Raises `JobError`.

    fp32 also where the checkpoint is bf16: small steps of RL are lost in bf16 weights. With `scalar` it has one number for a head, which
    starts at zero where the folder has none.
    """
    check_folder(path, key)
    from grading.models.transformers import load
    from grading.scalar import load_scalar

    try:
        loaded = load_scalar(path, "cpu", "float32", untrained=True) if scalar else load(path, "cpu", "float32")
    except ConfigurationError as exc:
        raise JobError(f"{key}: {exc}", "Give a folder with config.json, readable weights and a tokenizer with a chat template.") from exc
    loaded.tokenizer.padding_side = "left"
    return loaded


def plain(loaded: Loaded, text: str) -> str:
    """`text` with spelt-out special tokens broken up, as when the model is asked: what is trained on must look like what is asked later."""
    return loaded.specials.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)


def messages(loaded: Loaded, role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": plain(loaded, text)}]


def training_options(folder: Path, seed: int) -> dict[str, Any]:
    """What every trainer here is told: save by callback, say nothing, fp32, the CPU only where there is no accelerator."""
    import torch

    return {
        "output_dir": str(folder),
        "seed": seed,
        "bf16": False,
        "fp16": False,
        "use_cpu": not torch.cuda.is_available(),
        "activation_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
    }
