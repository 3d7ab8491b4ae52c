"""How a scalar job becomes a trainer: the Huber loss, and the settings and the order of distillation (paper, appendix A.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import huber_loss
from transformers import TrainingArguments

from grading.models.transformers import Loaded, encode
from grading.scalar import padded
from grading.types import Message
from training.engine.faults import JobError
from training.engine.job import Job
from training.engine.sft import InOrder, arrange, schedule
from training.engine.steps import Steps

DELTA = 0.1  # of the range: twice the spread of an expert's own noise. Larger errors count by their size, not its square


def assemble(job: Job, sft: dict[str, Any], loaded: Loaded, examples: list[dict[str, Any]]) -> tuple[InOrder, Steps]:
    """Raises `JobError` for a prompt that is too long for the model."""
    low, high = job["score_range"]
    tokens = encode(loaded, [[Message("user", example["prompt"])] for example in examples])
    for number, ids in enumerate(tokens, 1):
        if len(ids) > loaded.positions:
            raise JobError(
                f"example {number} has {len(ids)} tokens and the model knows no more than {loaded.positions}",
                "Leave it out, or take a model with a longer context.",
            )
    rows = [{"tokens": ids, "label": (example["score"] - low) / (high - low)} for ids, example in zip(tokens, examples, strict=True)]

    def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return {**padded([row["tokens"] for row in batch], loaded), "labels": torch.tensor([row["label"] for row in batch])}

    trainer = InOrder(
        model=loaded.model,
        args=TrainingArguments(**schedule(job, sft, len(rows)), remove_unused_columns=False, label_names=["labels"]),
        train_dataset=rows,
        data_collator=collate,
        processing_class=loaded.tokenizer,
        compute_loss_func=loss,
    )
    return trainer, arrange(trainer, job, sft, [len(ids) for ids in tokens])


def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor) -> torch.Tensor:
    """The Huber loss: e^2 / 2 up to `DELTA`, then DELTA * (|e| - DELTA / 2), the mean over the whole batch of a step.

    `labels` are scores on the unit range, as `outputs.logits` of shape (B, 1) are to be; this may be a part of the batch of `num_items_in_batch`.
    """
    return huber_loss(outputs.logits[:, 0].float(), labels, reduction="sum", delta=DELTA) / num_items_in_batch
