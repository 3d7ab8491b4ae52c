"""What happens around a trainer's steps: seeds, checkpoints, stopping."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, set_seed

from training.engine.artifacts import Saved, digest, newest, prune, publish
from training.engine.job import Job, derive

KEEP = 2  # checkpoints kept in a job's folder


class Reporter(Protocol):
    """Writes steps down: told when one begins, and its number and the trainer's logs when it has ended."""

    def begin(self) -> None: ...

    def end(self, step: int, logs: dict[str, Any]) -> None: ...


class Steps(TrainerCallback):
    """Seeds each step by its number, saves every `save_every` steps and at the end, stops when told to, and tells `report` of each step."""

    def __init__(self, job: Job, save_every: int, report: Reporter, *, offset: int = 0) -> None:
        self.job, self.save_every, self.report, self.offset = job, save_every, report, offset
        self.stopped = False

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.report.begin()
        set_seed(derive(self.job.seed, self.offset + state.global_step + 1, args.process_index))

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        last = state.global_step >= state.max_steps
        if not last and agreed(self.job.stopping):
            self.stopped = control.should_training_stop = True
        control.should_save = last or self.stopped or (self.offset + state.global_step) % self.save_every == 0

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "grad_norm" in logs:
            self.report.end(self.offset + state.global_step, logs)
        state.log_history.clear()  # or every checkpoint would carry all that metrics.jsonl says already

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.keep(Path(args.output_dir), state.global_step)

    def keep(self, made: Path, trainer_step: int) -> None:
        """Give the trainer's new checkpoint its name, and let the oldest go."""
        state = PartialState()
        state.wait_for_everyone()
        if state.is_main_process:
            step, path = self.offset + trainer_step, made / f"checkpoint-{trainer_step}"
            publish(path, self.folder / f"step-{step:04d}", step=step, offset=self.offset, digest=digest(path))
            prune(self.folder, KEEP)
        state.wait_for_everyone()

    @property
    def folder(self) -> Path:
        return self.job.folder / "checkpoints"

    @property
    def newest(self) -> Saved | None:
        return newest(self.folder)


def train(trainer: Trainer, steps: Steps, resume: Saved | None) -> None:
    """Run the trainer to its last step, or until the job is told to stop."""
    if resume and resume.step - steps.offset >= trainer.args.max_steps:
        return  # killed between its last checkpoint and its result
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(steps)
    trainer.create_model_card = lambda *args, **kwargs: None
    trainer.train(resume_from_checkpoint=str(resume.path) if resume else None)


def save_now(trainer: Trainer, steps: Steps) -> None:
    """A checkpoint of the state after the last whole step, where there is none yet. For a job that ends between steps."""
    saved = steps.newest
    step = steps.offset + trainer.state.global_step
    if trainer.state.global_step and (saved is None or saved.step < step):
        trainer.model.zero_grad()
        trainer._save_checkpoint(trainer.model_wrapped, None)
        steps.keep(Path(trainer.args.output_dir), trainer.state.global_step)


def agreed(flag: bool) -> bool:
    """The first process's `flag`, in all processes."""
    state = PartialState()
    return bool(broadcast_object_list([flag])[0]) if state.num_processes > 1 else flag


def finite(value: Any) -> float | None:
    """A number for JSON: None where there is none."""
    return float(value) if value is not None and math.isfinite(value) else None
