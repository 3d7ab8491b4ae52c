"""What a model takes of a device's memory in training and in serving, from its config.json alone. All sizes are in bytes.

The formulas, with P parameters of which T are trained, G processes that share everything (FSDP, full shard), and b bytes a number:

- weights 4 P / G, gradients 4 T / G, and Adam's two moments 8 T / G, all in fp32;
- one layer as it is computed and the next one, gathered: 2 b P_layer; the head, gathered with its gradient in fp32: 8 V h;
- activations of s sequences of t tokens: s t b h for each layer, at whose beginning they are kept, and within the layer that is
  computed again s t b (6 h + 4 q + 4 k + 4 f); a process alone keeps the latter for every layer;
- logits: TRL computes them in tiles of 4,096 tokens and 32,768 words in fp32 and never holds more.

with h the width, q and k the widths of all queries and of all keys, f the width of the feed-forward part, V the vocabulary. Several processes compute
in bf16 (b = 2) and compute layers again, as docs/accelerate-fsdp.yaml has them do; one alone computes in fp32 (b = 4).

A server holds 2 P in bf16, and for each token of each sequence that it is writing the keys and values of every layer: 4 L k.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30
SPARE = 0.1  # of a device, for CUDA itself and what lies idle between two sizes
TILE = 4096 * 32768 * 4


@dataclass(frozen=True, slots=True)
class Architecture:
    """A causal language model in numbers. Widths are those of all heads together; `linear` is the sum of inputs and outputs of all linear layers
    but the head, so a LoRA of rank r has r times as many parameters.
    """

    parameters: int
    layers: int
    width: int
    queries: int
    keys: int
    feed: int
    vocabulary: int
    positions: int
    linear: int


def architecture(folder: Path) -> Architecture:
    """Of the model whose config.json is in `folder`; its weights need not be there. Raises ValueError where it is no language model that
    transformers knows.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):  # no memory is taken
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, KeyError, ValueError) as exc:
        raise ValueError(f"{folder}/config.json describes no language model: {exc}") from exc
    text, head = config.get_text_config(), model.get_output_embeddings()
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head]
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Architecture(
        parameters=model.num_parameters(),
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        queries=text.num_attention_heads * size,
        keys=(getattr(text, "num_key_value_heads", None) or text.num_attention_heads) * size,
        feed=text.intermediate_size,
        vocabulary=text.vocab_size,
        positions=text.max_position_embeddings,
        linear=sum(module.in_features + module.out_features for module in linear),
    )


def training(model: Architecture, *, tokens: int, sequences: int, processes: int, rank: int = 0) -> dict[str, float]:
    """On each device, of one pass over `sequences` of `tokens`; with a LoRA of `rank`, or of all parameters where that is 0."""
    trained = rank * model.linear if rank else model.parameters
    held = model.parameters + (trained if rank else 0)
    number = 2 if processes > 1 else 4
    head = 8 * model.vocabulary * model.width
    layer = (model.parameters - model.vocabulary * model.width) / model.layers
    within = number * (6 * model.width + 4 * (model.queries + model.keys + model.feed))
    kept = number * model.width * model.layers + within if processes > 1 else within * model.layers
    return {
        "weights": 4 * held / processes,
        "gradients": 4 * trained / processes,
        "Adam": 8 * trained / processes,
        "gathered": head + (2 * number * layer if processes > 1 else 0),
        "activations": kept * tokens * sequences,
        "logits": min(TILE, 4 * tokens * sequences * model.vocabulary),
    }


def serving(model: Architecture, *, tokens: int, sequences: int) -> dict[str, float]:
    """On the device of a server that writes `sequences` of `tokens`, prompt included, at a time."""
    return {"weights": 2 * model.parameters, "cache": cache(model) * tokens * sequences}


def cache(model: Architecture) -> int:
    """Keys and values of one token in bf16."""
    return 4 * model.layers * model.keys


def room(memory: float) -> float:
    """What can be used of a device with `memory` GiB."""
    return memory * GIB * (1 - SPARE)
