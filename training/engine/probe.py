"""How well the model in training agrees with the expert, by samples seen: a little fine-tuning hurts before it helps (paper, appendix B.1)."""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState

from grading.alignment import alignment
from grading.types import Case
from training.engine.job import Job, derive
from training.engine.sft import InOrder
from training.engine.tuning import merge, rank
from training.engine.verdicts import Bench


class Probe(TrainerCallback):
    """Writes a line to probes.jsonl at the end of the first step by which as many samples as the job's probe says were seen: {samples, alignment}.

    `samples` counts an example again in each epoch; a number beyond the last stands for all. The line is there before the step's checkpoint, so
    what a resumed run skips has been measured. The model in training is written out and read back for it, and nothing that it learns depends on
    the look.
    """

    def __init__(self, job: Job, trainer: InOrder, cases: list[dict[str, Any]], *, scalar: bool = False) -> None:
        self.job, self.trainer, self.cases, self.scalar = job, trainer, cases, scalar
        batch, seen = job["sft"]["batch"], len(trainer.order)
        steps = {math.ceil(min(wanted, seen) / batch) for wanted in job["probe"]["at"]}
        self.samples = {step: min(step * batch, seen) for step in steps}
        self.lines = job.lines("probes.jsonl")

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step == 0:
            self._look(0)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._look(state.global_step)

    def _look(self, step: int) -> None:
        samples = self.samples.get(step)
        if samples is None or any(line["samples"] == samples for line in self.lines):
            return
        made = self.job.partial / "probe"
        self.trainer.save_model(str(made / "trained"))
        if self.job.rank == 0:
            if rank(self.job) is not None:
                merge(self.job, made / "trained", made / "merged", scalar=self.scalar)
            model = made / ("trained" if rank(self.job) is None else "merged")
            self.lines.append({"samples": samples, "alignment": self._alignment(str(model))})
            shutil.rmtree(made)
        PartialState().wait_for_everyone()

    def _alignment(self, path: str) -> dict[str, Any]:
        bench = Bench(with_model(self.job["probe"]["judge"], path))
        seed = derive(self.job.seed, "probe")  # the same at every look, so that chance moves them less against each other
        with bench.runner:
            verdicts = bench.grade([Case(case["instructions"], case["content"]) for case in self.cases], seed)
        scores, groups = [case["score"] for case in self.cases], [case["group"] for case in self.cases]
        return asdict(alignment(scores, [verdict.score for verdict in verdicts], groups, seed=seed))


def with_model(judge: dict[str, Any], path: str) -> dict[str, Any]:
    """The judge with the model in the folder `path` instead of its own."""
    model = judge["options"]["model"]
    changed = {**model, "options": {**model.get("options", {}), "path": path}} if "backend" in model else {**model, "path": path}
    return {**judge, "options": {**judge["options"], "model": changed}}
