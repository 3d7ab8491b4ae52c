"""Seconds per RL step, split into sampling, reward and update, and the ratio of our GRPO segment to a bare TRL script of the same settings.

    python bench/rl_step.py [--model FOLDER] [--steps 8] [--repeats 3]

Ours and the bare script take turns in one process, with the same policy, prompts, settings and judge (the pocket expert), so that other load on
the machine falls on both. The last row is ours with the reward of an experiment: the pocket proxy's generated traces. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from training.engine.models import prepare  # noqa: E402

prepare()

from transformers import PrinterCallback, TrainerCallback  # noqa: E402

EXPERT = {"backend": "training.pocket.expert.PocketExpert", "options": {}}
PARTS = ("sampling", "reward", "update")


def job(folder: Path, model: str, steps: int, judge: dict[str, Any], seed: int) -> dict[str, Any]:
    """A job like those of the pocket presets."""
    from training.pocket.language import prompts

    plan = {
        "learning_rate": 3e-4,
        "prompts_per_step": 8,
        "group": 8,
        "policy_temperature": 1.0,
        "policy_max_tokens": 80,
        "save_every": 10**6,
        "unscored_limit": 1.0,
    }
    data = {"kind": "rl", "name": "bench", "seed": seed, "policy": model, "resume_from": None, "start": 0, "stop": steps, "plan": plan}
    data |= {"prompts": [{"id": i, "text": p.instructions} for i, p in enumerate(prompts()[:200])], "reward": {"who": "proxy", "judge": judge}}
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps(data))
    return data


class Processor(TrainerCallback):
    """Processor seconds of each step: what a step costs whatever else the machine does."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = time.process_time()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds.append(time.process_time() - self.began)


def ours(folder: Path) -> list[dict[str, float]]:
    """Seconds of each step but the first, by part."""
    from training.engine import grpo, rl
    from training.engine.job import load_job

    processor, assemble = Processor(), grpo.assemble

    def watched(*args: Any) -> Any:
        trainer, steps = assemble(*args)
        trainer.add_callback(processor)
        return trainer, steps

    grpo.assemble = watched  # type: ignore[assignment]
    try:
        result = rl.run(load_job(folder, "rl", rl.FIELDS, rl.OPTIONAL))
    finally:
        grpo.assemble = assemble
    assert result["status"] == "done", result
    steps = [json.loads(line)["seconds"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{**parts, "processor": seconds} for parts, seconds in zip(steps, processor.seconds, strict=True)][1:]


def bare(folder: Path, data: dict[str, Any]) -> list[dict[str, float]]:
    """The same by TRL alone: what a script from its documentation does."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from grading.backends import load
    from grading.types import Case

    judge, times, plan = load(data["reward"]["judge"]), [], data["plan"]

    def reward(prompts: list[Any], completions: list[Any], **kwargs: Any) -> list[float | None]:
        times.append(time.perf_counter())
        cases = [Case(p[0]["content"], c[0]["content"]) for p, c in zip(prompts, completions, strict=True)]
        scores = [verdict.score for verdict in asyncio.run(judge.grade(cases, seed=len(times)))]
        times.append(time.perf_counter())
        return scores

    class Clock(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            times.append(time.perf_counter())

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            times.append(time.perf_counter())

    processor = Processor()
    config = GRPOConfig(
        output_dir=str(folder),
        max_steps=data["stop"],
        per_device_train_batch_size=plan["prompts_per_step"] * plan["group"],
        num_generations=plan["group"],
        max_completion_length=plan["policy_max_tokens"],
        learning_rate=plan["learning_rate"],
        lr_scheduler_type="constant",
        loss_type="dapo",
        beta=0.0,
        bf16=False,
        use_cpu=True,
        activation_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )
    rows = Dataset.from_dict({"prompt": [[{"role": "user", "content": prompt["text"]}] for prompt in data["prompts"]]})
    trainer = GRPOTrainer(model=data["policy"], reward_funcs=reward, args=config, train_dataset=rows, callbacks=[Clock(), processor])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    steps = [times[i : i + 4] for i in range(0, len(times), 4)]
    pairs = zip(steps, processor.seconds, strict=True)
    return [{"sampling": b - a, "reward": c - b, "update": d - c, "processor": seconds} for (a, b, c, d), seconds in pairs][1:]


def row(name: str, runs: list[list[dict[str, float]]]) -> str:
    steps = [step for run in runs for step in run]
    parts = [statistics.median(step[part] for step in steps) for part in PARTS]
    whole, processor = [sum(step[part] for part in PARTS) for step in steps], [step["processor"] for step in steps]
    return f"| {name} | {' | '.join(f'{part:.3f}' for part in parts)} | {spread(whole)} | {spread(processor)} |"


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def ratio(part: str, ours: list[list[dict[str, float]]], bare: list[list[dict[str, float]]]) -> str:
    """Of the medians of each repeat."""

    def median(run: list[dict[str, float]]) -> float:
        return statistics.median(step["processor"] if part == "processor" else sum(step[name] for name in PARTS) for step in run)

    return spread([median(a) / median(b) for a, b in zip(ours, bare, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "training/pocket/base"), help="policy and proxy: a folder for from_pretrained")
    parser.add_argument("--steps", type=int, default=8, help="RL steps of each run; the first is not counted (default 8)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each (default 3)")
    options = parser.parse_args()

    from training.pocket.prompts import DOMAIN

    model = {"backend": "grading.models.transformers.TransformersModel", "options": {"path": options.model}}
    grader = {"prompts": [DOMAIN.grading_prompt], "model": model, "n": 2, "sampling": {"temperature": 1.0, "max_tokens": 96}}
    proxy = {"backend": "grading.graders.Grader", "options": grader}
    ours_steps, bare_steps, proxy_steps = [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(options.repeats):
            folder = Path(temporary, str(seed))
            data = job(folder, options.model, options.steps, EXPERT, seed)
            ours_steps.append(ours(folder))
            bare_steps.append(bare(Path(temporary, f"bare-{seed}"), data))
            job(Path(temporary, f"proxy-{seed}"), options.model, options.steps, proxy, seed)
            proxy_steps.append(ours(Path(temporary, f"proxy-{seed}")))
    print(
        "| 64 rollouts, one core; median seconds | sampling | reward | update | step (range) | processor, step (range) |\n|---|---|---|---|---|---|"
    )
    print(row("bare TRL, program as judge", bare_steps))
    print(row("ours, program as judge", ours_steps))
    print(row("ours, proxy with n = 2", proxy_steps))
    print(
        f"\nOurs / bare TRL, median of {options.repeats} repeats (range): {ratio('processor', ours_steps, bare_steps)} in processor seconds, ", end=""
    )
    print(f"{ratio('wall', ours_steps, bare_steps)} in wall seconds")


if __name__ == "__main__":
    main()
