"""LoRA adapters that were trained one on top of the other, as one: what a server needs that holds only the model below them all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.engine.faults import JobError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def stack(adapters: Sequence[Path], folder: Path) -> None:
    """Write to `folder` the adapter that does what `adapters` do together, each trained on the model with all before it merged in.

    It is exact, and its rank is the sum of theirs: B1 A1 + B2 A2 = (B1 B2)(A1; A2), with each one's scale in its B. Raises `JobError` where they do
    not change the same layers, or change more than plain LoRA does.
    """
    import numpy as np
    from safetensors.numpy import load_file, save_file

    read = [(json.loads((path / CONFIG).read_text()), load_file(path / WEIGHTS)) for path in adapters]
    names = sorted(read[-1][1])
    for path, (config, weights) in zip(adapters, read, strict=True):
        if sorted(weights) != names:
            raise JobError(
                f"the adapter in {path} is not on the layers of that in {adapters[-1]}", "Train all versions of a proxy with the same adapter."
            )
        if not _plain(config, names):
            raise JobError(f"the adapter in {path} is more than a plain LoRA", "Serve its merged model instead.")
    stacked = {}
    for name in names:
        if name.endswith(".lora_A.weight"):
            stacked[name] = np.concatenate([weights[name] for _, weights in read], axis=0)
        else:
            stacked[name] = np.concatenate([weights[name] * (config["lora_alpha"] / config["r"]) for config, weights in read], axis=1)
    rank = sum(config["r"] for config, _ in read)
    folder.mkdir(parents=True)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in stacked.items()}, folder / WEIGHTS, metadata={"format": "pt"})
    base = {"base_model_name_or_path": read[0][0]["base_model_name_or_path"]}
    (folder / CONFIG).write_text(json.dumps(read[-1][0] | base | {"r": rank, "lora_alpha": rank}, indent=1))


def _plain(config: dict[str, Any], names: list[str]) -> bool:
    more = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")
    return all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in names) and not any(config.get(name) for name in more)
