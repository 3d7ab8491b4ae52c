"""How a distillation job becomes an SFT trainer, and what a scalar job shares with it: settings, and which examples each step takes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import Trainer
from trl import SFTConfig, SFTTrainer

from grading.models.transformers import Loaded
from training.engine.faults import JobError
from training.engine.job import Job, derive
from training.engine.models import messages, training_options
from training.engine.steps import Steps, finite

POOL = 8  # batches that are put together by length at a time


def assemble(job: Job, sft: dict[str, Any], loaded: Loaded, examples: list[dict[str, str]]) -> tuple[Distiller, Steps]:
    rows = [
        {"prompt": messages(loaded, "user", example["prompt"]), "completion": messages(loaded, "assistant", example["completion"])}
        for example in examples
    ]
    args = SFTConfig(
        **schedule(job, sft, len(rows)),
        max_length=None,  # the default would cut off the end of a long trace, and the score is there
        packing=False,
        completion_only_loss=True,
        dataset_num_proc=None,
    )
    trainer = Distiller(model=loaded.model, args=args, train_dataset=Dataset.from_list(rows), processing_class=loaded.tokenizer)
    check_tokens(job, loaded, trainer.train_dataset, examples)
    return trainer, arrange(trainer, job, sft, [len(ids) for ids in trainer.train_dataset["input_ids"]])


class InOrder(Trainer):
    """A trainer that takes the examples in the order it is given: all passes in one, so that a resumed run need only skip."""

    order: list[int]

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return Order(self.order)


class Distiller(InOrder, SFTTrainer):
    """SFT of traces."""


def arrange(trainer: InOrder, job: Job, sft: dict[str, Any], lengths: list[int]) -> Steps:
    """Tell the trainer which examples (of these `lengths` in tokens) each step takes; what happens around the steps."""
    total = trainer.args.max_steps
    trainer.order = order(derive(job.seed, "order"), lengths, sft["epochs"], sft["batch"])[: total * sft["batch"]]
    save_every = sft["save_every"] or max(1, math.ceil(len(lengths) / sft["batch"]))
    return Steps(job, save_every, Report(job, total))


class Order(Sampler[int]):
    def __init__(self, indices: list[int]) -> None:
        self.indices = indices

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def order(seed: int, lengths: list[int], epochs: int, batch: int) -> list[int]:
    """Every example once in each epoch, shuffled; within a few batches examples of like length go together, which saves padding."""
    rng = np.random.default_rng(seed)
    shuffled = np.concatenate([rng.permutation(len(lengths)) for _ in range(epochs)]).tolist()
    result: list[int] = []
    for start in range(0, len(shuffled), batch * POOL):
        pool = sorted(shuffled[start : start + batch * POOL], key=lengths.__getitem__)
        batches = [pool[i : i + batch] for i in range(0, len(pool), batch)]
        # A batch that is not full can only be the last of all, or those after it would straddle.
        full = batches if len(batches[-1]) == batch else batches[:-1]
        result += [row for i in rng.permutation(len(full)) for row in full[i]] + [row for rest in batches[len(full) :] for row in rest]
    return result


def schedule(job: Job, sft: dict[str, Any], examples: int) -> dict[str, Any]:
    """The settings of all fine-tuning on so many examples (paper, appendix A.1): a tenth of the steps to warm up, then down to nothing in a line."""
    total = math.ceil(examples * sft["epochs"] / sft["batch"])
    total = min(total, sft["max_steps"] or total)
    batch = job["device_batch"] or sft["batch"] // job.world
    if not batch or sft["batch"] % (batch * job.world):
        raise JobError(
            f"a batch of {sft['batch']} does not divide into {job.world} processes of {batch} at a time", "Choose batch and device_batch to fit."
        )
    return {
        **training_options(job.partial, derive(job.seed, "trainer")),
        "max_steps": total,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": sft["batch"] // (batch * job.world),
        "learning_rate": sft["learning_rate"],
        "lr_scheduler_type": "linear",
        "warmup_steps": round(0.1 * total),
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
    }


def check_tokens(job: Job, loaded: Loaded, rows: Any, examples: list[dict[str, str]]) -> None:
    """Raises `JobError` where an example is too long for the model, or its score is not among the tokens that are learned."""
    closing = f"</{job['score_tag']}>"
    for number, (row, example) in enumerate(zip(rows, examples, strict=True), 1):
        if len(row["input_ids"]) > loaded.positions:
            raise JobError(
                f"example {number} has {len(row['input_ids'])} tokens and the model knows no more than {loaded.positions}",
                "Leave it out, or take a model with a longer context.",
            )
        learned = [token for token in row["labels"] if token != -100]
        if closing in example["completion"] and closing not in loaded.tokenizer.decode(learned):
            raise JobError(f"the score of example {number} is lost when it is turned into tokens", "Check the tokenizer and its chat template.")
        if learned[-1:] and not set(learned[-2:]) & set(loaded.stops):
            raise JobError(
                f"example {number} does not end with the end of the sequence, so the model would never learn to stop",
                "The chat template must close the assistant's turn with the tokenizer's eos_token.",
            )


class Report:
    """Writes a step's line to metrics.jsonl."""

    def __init__(self, job: Job, total: int) -> None:
        self.lines, self.total, self.began = job.lines("metrics.jsonl"), total, 0.0

    def begin(self) -> None:
        self.began = time.perf_counter()

    def end(self, step: int, logs: dict[str, Any]) -> None:
        seconds = round(time.perf_counter() - self.began, 4)
        self.lines.append(
            {
                "step": step,
                "done": step,
                "total": self.total,
                "loss": finite(logs.get("loss")),
                "grad_norm": finite(logs["grad_norm"]),
                "learning_rate": logs.get("learning_rate"),
                "seconds": seconds,
            }
        )
