"""The reward of a step's rollouts: a judge's verdicts, written down before they are used."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from grading.prompts import extract
from grading.types import Case
from training.engine.faults import JobError
from training.engine.job import Job, derive
from training.engine.steps import finite
from training.engine.verdicts import Bench, as_line, grades


class Reward:
    """TRL's reward function. Unscored rollouts get None, never 0; too many of them in a step end the job before it is trained on.

    A step that was already judged, by a process that died before it could save, is not judged again: its verdicts are read from
    rollouts.jsonl. So an expert is asked once, and a step done again is the same also where a judge never says the same twice.
    """

    __name__ = "reward"  # TRL names its metrics by it

    def __init__(self, job: Job, after: int, offset: int, stops: Sequence[int]) -> None:
        self.job, self.offset, self.stops = job, offset, set(stops)
        self.bench = Bench(job["reward"]["judge"])
        self.expert = job["reward"]["who"] == "expert"
        self.lines = job.lines("rollouts.jsonl")
        self.known = {(row["step"], row["prompt"], row["index"]): row for row in self.lines if row["step"] > after}
        self.began = self.ended = 0.0
        self.rows: list[dict[str, Any]] = []

    def __call__(
        self, completions: list[Any], completion_ids: list[list[int]], row: list[int], trainer_state: Any, **kwargs: Any
    ) -> list[float | None]:
        self.began = time.perf_counter()
        step = self.offset + trainer_state.global_step + 1
        rows = self._rows(step, [turns[0]["content"] for turns in completions], completion_ids, row)
        kept = [self.known.get((line["step"], line["prompt"], line["index"])) for line in rows]
        judged = [line for line, new in zip(kept, rows, strict=True) if line and line["completion"] == new["completion"]]
        if done := len(judged) == len(rows):
            rows = judged
        else:
            self._judge(step, rows, row)
        everyone = gathered(rows)
        self._check(everyone)
        if not all(gathered([done])):
            self.lines.append(*everyone)
        self.rows, self.ended = everyone, time.perf_counter()
        return [line["reward"] for line in rows]

    def _rows(self, step: int, texts: list[str], tokens: list[list[int]], prompts: list[int]) -> list[dict[str, Any]]:
        plan, seen, rows = self.job["plan"], Counter[int](), []
        sampling = {"temperature": plan["policy_temperature"], "max_tokens": plan["policy_max_tokens"]}
        for text, ids, prompt in zip(texts, tokens, prompts, strict=True):
            rows.append(
                {
                    "request": "train",
                    "step": step,
                    "prompt": self.job["prompts"][prompt]["id"],
                    "index": seen[prompt],
                    "completion": text,
                    "content": extract(text, self.job["content_tag"]),
                    "finished": bool(ids) and ids[-1] in self.stops,
                    "tokens": len(ids),
                    "sampling": sampling,
                    "checkpoint": "",  # the weights between two checkpoints have no digest
                }
            )
            seen[prompt] += 1
        return rows

    def _judge(self, step: int, rows: list[dict[str, Any]], prompts: list[int]) -> None:
        cases = [Case(self.job["prompts"][prompt]["text"], row["content"]) for prompt, row in zip(prompts, rows, strict=True)]
        for row, verdict in zip(rows, self.bench.grade(cases, derive(self.job.seed, step, "reward", PartialState().process_index)), strict=True):
            row["reward"] = verdict.score
            row["grades"] = [] if self.expert else grades(verdict)
            if self.expert:
                row["verdict"] = as_line(verdict)

    def _check(self, rows: list[dict[str, Any]]) -> None:
        bad = [row for row in rows if row["reward"] is None]
        limit = self.job["plan"]["unscored_limit"]
        if len(bad) > limit * len(rows):
            traces = [row.get("verdict") or row["grades"][0] for row in bad]
            reason, _ = Counter(trace["unscored_reason"] or "no reason given" for trace in traces).most_common(1)[0]
            raise JobError(
                f"{len(bad) / len(rows):.0%} of the rollouts of step {rows[0]['step']} are unscored ({reason}); the limit is {limit:.0%}",
                "The step was not trained on. Look at what the judge wrote, mend or realign it, or raise unscored_limit; then resume.",
                paused=True,
                step=rows[0]["step"] - 1,
                example={"prompt": bad[0]["prompt"], "completion": bad[0]["completion"], "trace": traces[0]["raw"][:2000]},
            )


def gathered(rows: list[Any]) -> list[Any]:
    """The rows of all processes, in all of them."""
    return list(gather_object(rows)) if PartialState().num_processes > 1 else rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A step's rollouts in numbers; `reward` and `reward_std` over the scored ones, None where there are none."""
    rewards = [row["reward"] for row in rows if row["reward"] is not None]
    return {
        "reward": statistics.fmean(rewards) if rewards else None,
        "reward_std": statistics.stdev(rewards) if len(rewards) > 1 else None,
        "length": statistics.fmean(row["tokens"] for row in rows),
        "finished_rate": sum(row["finished"] for row in rows) / len(rows),
        "unscored_rate": 1 - len(rewards) / len(rows),
        "unique_rate": len({row["content"] for row in rows}) / len(rows),
    }


class Report:
    """Writes a step's line to metrics.jsonl."""

    def __init__(self, job: Job, reward: Reward) -> None:
        self.job, self.reward, self.lines = job, reward, job.lines("metrics.jsonl")
        self.before = 0.0

    def begin(self) -> None:
        self.before = time.perf_counter()

    def end(self, step: int, logs: dict[str, Any]) -> None:
        now, reward = time.perf_counter(), self.reward
        seconds = {"sampling": reward.began - self.before, "reward": reward.ended - reward.began, "update": now - reward.ended}
        self.lines.append(
            {
                "step": step,
                "done": step - self.job["start"],
                "total": self.job["stop"] - self.job["start"],
                **summary(reward.rows),
                "grad_norm": finite(logs["grad_norm"]),
                "loss": finite(logs.get("loss")),
                "entropy": finite(logs.get("entropy")),
                "seconds": {name: round(value, 4) for name, value in seconds.items()},
            }
        )
