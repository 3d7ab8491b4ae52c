"""Sampling from a causal language model in batches. Only imported where torch is wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

LARGEST = 1 << 27  # logits at once: half a gigabyte in fp32


@torch.inference_mode()
def decode(model: Any, prompts: list[list[int]], limits: list[int], stops: list[int], temperature: float, draws: np.ndarray) -> list[list[int]]:
    """The tokens that `model` writes after each of `prompts`: up to and with the first of `stops`, and at most `limits[row]`.

    `draws[row, step]` in [0, 1) chooses the token of a step by inverting the cumulative distribution, so what a row writes depends on its own
    numbers alone; temperature 0 takes the likeliest. Rows with the same prompt share its first pass, and rows that have ended leave the batch:
    with tiny models on a CPU this is several times faster than `model.generate`.
    """
    device = model.device
    active = torch.tensor([row for row, limit in enumerate(limits) if limit > 0 and prompts[row]], dtype=torch.long)
    if not len(active):
        return [[] for _ in prompts]
    logits, cache, mask = _read(model, [prompts[row] for row in active.tolist()])
    position = torch.tensor([len(prompts[row]) for row in active.tolist()], device=device)
    limit, stop, chance = torch.tensor(limits), torch.tensor(stops, device=device), torch.from_numpy(draws)
    written = torch.zeros(draws.shape, dtype=torch.long)
    lengths = torch.zeros(len(prompts), dtype=torch.long)
    done = torch.zeros(len(active), dtype=torch.bool)
    for step in range(draws.shape[1]):
        tokens = _choose(logits, temperature, chance[active, step].to(device))
        written[active, step] = tokens.cpu()
        lengths[active[~done]] = step + 1
        done |= torch.isin(tokens, stop).cpu() | (limit[active] <= step + 1)
        if done.all():
            break
        # Leaving costs a copy of the cache, so rows leave a quarter of the batch at a time.
        if done.sum() * 4 >= len(done):
            stay = (~done).nonzero().squeeze(1)
            active, done = active[stay], done[stay]
            stay = stay.to(device)
            tokens, position, mask = tokens[stay], position[stay], mask[stay]
            cache.batch_select_indices(stay)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = model(input_ids=tokens[:, None], attention_mask=mask, position_ids=position[:, None], past_key_values=cache, use_cache=True).logits[
            :, -1
        ]
        position = position + 1
    return [written[row, :length].tolist() for row, length in enumerate(lengths.tolist())]


@torch.inference_mode()
def log_probabilities(model: Any, prompts: list[list[int]], written: list[list[int]]) -> list[float]:
    """The log-probability of all that was `written` after each of `prompts`, at temperature 1 and in nats: a sum over its tokens, at most 0."""
    sums = [0.0] * len(prompts)
    rows = sorted((row for row, tokens in enumerate(written) if tokens), key=lambda row: -len(prompts[row]) - len(written[row]))
    longest = max(map(len, written), default=0)
    count = max(1, LARGEST // max(1, longest * model.config.get_text_config().vocab_size))
    for start in range(0, len(rows), count):
        batch = rows[start : start + count]
        keep = max(len(written[row]) for row in batch)
        tokens, mask, positions = _padded([prompts[row] + written[row] for row in batch], model.device)
        output = model(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=keep + 1)
        losses = cross_entropy(output.logits[:, -keep - 1 : -1].float().transpose(1, 2), tokens[:, -keep:], reduction="none")
        for row, loss in zip(batch, losses.double(), strict=True):
            sums[row] = -float(loss[-len(written[row]) :].sum())
    return sums


def _read(model: Any, prompts: list[list[int]]) -> tuple[torch.Tensor, DynamicCache, torch.Tensor]:
    """The logits after each prompt, with the cache and attention mask to go on from; equal prompts next to each other are read once."""
    unique, which = [prompts[0]], [0]
    for prompt in prompts[1:]:
        if prompt != unique[-1]:
            unique.append(prompt)
        which.append(len(unique) - 1)
    tokens, mask, positions = _padded(unique, model.device)
    rows = torch.tensor(which, device=model.device)
    cache = DynamicCache(config=model.config)
    output = model(input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
    if len(unique) < len(prompts):
        cache.batch_select_indices(rows)
    return output.logits[:, -1][rows], cache, mask[rows]


def _padded(sequences: list[list[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, attention mask and positions, each of shape (sequences, longest).

    Padded on the left with explicit positions: all sequences end in the same column, and the first token of each is at position 0.
    """
    width = max(map(len, sequences))
    tokens = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, sequence in enumerate(sequences):
        tokens[row, width - len(sequence) :] = torch.tensor(sequence)
        mask[row, width - len(sequence) :] = 1
    tokens, mask = tokens.to(device), mask.to(device)
    return tokens, mask, (mask.cumsum(1) - 1).clamp(min=0)


def _choose(logits: torch.Tensor, temperature: float, chance: torch.Tensor) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    # In double precision: in single, the tail of a large vocabulary would vanish in the sum.
    cumulative = (logits.float() / temperature).softmax(-1).double().cumsum(-1)
    token = torch.searchsorted(cumulative, (chance * cumulative[:, -1])[:, None], right=True).squeeze(1)
    return token.clamp(max=logits.shape[-1] - 1)
