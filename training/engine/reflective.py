"""What GEPA needs to know of us: how a task prompt is tried, what its reflection model reads, and that nobody is asked twice."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from gepa import EvaluationBatch

from grading.backends import load
from grading.models.base import LanguageModel
from grading.prompts import extract, fill, placeholders
from grading.secrecy import hiding, hush
from grading.types import Case, Completion, Message, Sampling
from training.engine.faults import JobError
from training.engine.job import Job, derive
from training.engine.verdicts import Bench, as_line

PROMPT = "prompt"  # GEPA's name for the one text that it works on
TEMPLATE = """\
A language model writes texts. This is what it is asked; the words in braces stand for what differs from task to task:
```
<curr_param>
```

Below are some of its tasks, the text that came back, and what an expert said about it.

<side_info>

Write a better prompt: one with which the expert would give higher scores, for any task of this kind and not only for these.
Look for what the expert misses or minds in several texts, and ask for it in plain words. Mention neither the expert nor these texts.
Keep {KEPT} as they are, each at least once, and put no other words in braces. Keep what the prompt says about the form of the answer.

Give the whole prompt between two lines of three backticks, and nothing else between them."""

Task = dict[str, Any]
Row = dict[str, Any]


def reflection_template(prompt: str) -> str:
    """What the reflection model is asked; the placeholders of `prompt` are to stay.

    GEPA puts the prompt and the feedback into it, at <curr_param> and <side_info>.
    """
    return TEMPLATE.replace("{KEPT}", in_braces(placeholders(prompt)))


class Writer:
    """A language model with an event loop of its own, kept for the whole job, as `Bench` is for a judge."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.runner = asyncio.Runner()

    def write(self, texts: Sequence[str], sampling: Sampling, seed: int) -> list[Completion]:
        answers = self.runner.run(self.model.generate([[Message("user", text)] for text in texts], sampling, seed=seed))
        return [answer for (answer,) in answers]


class PromptAdapter:
    """GEPA's adapter: a prompt is tried by one rollout a task, judged by the expert.

    The expert reads the task as the domain words it, whatever the policy was asked: what is judged stays the same. Verdicts are written down
    before they are used, and those written down by a process that died are used again. `asked` are the verdicts used so far, `known` all there are.
    """

    propose_new_texts = None  # GEPA looks for it; its own way of asking the reflection model is used

    def __init__(self, job: Job, policy: LanguageModel) -> None:
        self.job, self.policy = job, Writer(policy)
        self.bench = Bench(job["judge"])
        self.lines, self.metrics = job.lines("rollouts.jsonl"), job.lines("metrics.jsonl")
        self.known = {(row["step"], row["prompt"], row["index"]): row for row in self.lines}
        self.step = self.asked = 0
        self.refused: list[dict[str, str]] = []

    def evaluate(self, batch: list[Task], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """One batch is one step of the run. A prompt that cannot be used gets 0 on all tasks, and neither policy nor expert is asked."""
        step, self.step = self.step, self.step + 1
        if reason := refusal(candidate[PROMPT], self.job["generation_prompt"]):
            self.refused.append({"Proposed before": candidate[PROMPT], "Feedback": f"This prompt was refused: {reason}."})
            return EvaluationBatch(outputs=batch, scores=[0.0] * len(batch), num_metric_calls=0)
        rows = self._rows(step, batch, candidate[PROMPT])
        self.asked += len(rows)
        if step == 0 and all(row["reward"] is None for row in rows):
            trace = rows[0]["verdict"]
            raise JobError(
                f"the expert scored none of the texts that the prompt gives as it is ({trace['unscored_reason'] or 'no reason given'})",
                "Look at what the expert wrote (rollouts.jsonl) and mend it; then start the job anew in another folder.",
            )
        return EvaluationBatch(outputs=rows, scores=[self._scaled(row["reward"]) for row in rows], trajectories=list(zip(batch, rows, strict=True)))

    def make_reflective_dataset(self, candidate: dict[str, str], evaluated: Any, components: list[str]) -> dict[str, list[dict[str, Any]]]:
        """The expert's words beside each task and its text, and why earlier proposals were refused: GEPA itself never shows those again."""
        refused, self.refused = self.refused, []
        examples = [
            {"Task": task["variables"], "Text": row["completion"], "Feedback": feedback(row, self.job["content_tag"])}
            for task, row in evaluated.trajectories
        ]
        return {PROMPT: examples + refused}

    def _rows(self, step: int, batch: list[Task], prompt: str) -> list[Row]:
        seen, keys = Counter[int](), []
        for task in batch:
            keys.append((step, task["id"], seen[task["id"]]))
            seen[task["id"]] += 1
        if not self.known.keys() >= set(keys):
            self._ask(keys, batch, prompt)
        rows = [self.known[key] for key in keys]
        if any(row["sampling"]["prompt"] != digest(prompt) for row in rows):
            raise JobError("rollouts.jsonl was made by another job", "Start in a fresh folder: job.json must not change once there are verdicts.")
        return rows

    def _ask(self, keys: list[tuple[int, int, int]], batch: list[Task], prompt: str) -> None:
        """Have the tasks written and judged, and written down. Of a step that a crash cut short all is sampled again and the missing judged."""
        step, began = keys[0][0], time.monotonic()
        sampling = Sampling(**self.job["sampling"])
        written = self.policy.write([fill(prompt, task["variables"]) for task in batch], sampling, derive(self.job.seed, step, "policy"))
        missing = [
            (key, task, completion, extract(completion.text, self.job["content_tag"]))
            for key, task, completion in zip(keys, batch, written, strict=True)
            if key not in self.known
        ]
        verdicts = self.bench.grade([Case(task["text"], content) for _, task, _, content in missing], derive(self.job.seed, step, "judge"))
        for ((_, task, index), _, completion, content), verdict in zip(missing, verdicts, strict=True):
            self.known[step, task, index] = {
                "request": "train",
                "step": step,
                "prompt": task,
                "index": index,
                "completion": completion.text,
                "content": content,
                "finished": completion.finished,
                "tokens": completion.usage.output_tokens,
                "sampling": {**self.job["sampling"], "prompt": digest(prompt)},
                "checkpoint": self.job["checkpoint"],
                "reward": verdict.score,
                "grades": [],
                "verdict": as_line(verdict),
            }
        self.lines.append(*(self.known[key] for key, *_ in missing))
        rewards = [reward for key in keys if (reward := self.known[key]["reward"]) is not None]
        self.metrics.append(
            {
                "step": step,
                "done": len(self.known),
                "total": self.job["calls"],
                "reward": fmean(rewards) if rewards else None,
                "unscored_rate": 1 - len(rewards) / len(keys),
                "seconds": round(time.monotonic() - began, 3),
            }
        )

    def _scaled(self, score: float | None) -> float:
        """0..1 as GEPA takes it, which knows no missing score: 0 stands for that too."""
        low, high = self.job["score_range"]
        return 0.0 if score is None else min(1.0, max(0.0, (score - low) / (high - low)))


class Reflection:
    """GEPA's reflection model. Its answers are written to reflections.jsonl before they are used, and those of a process that died are used again.

    GEPA goes on without an answer where there is none; `failure` is why, so that the job need not.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.writer = Writer(load(job["reflection"]))
        self.hide = hiding(job["reflection"])
        self.lines = job.lines("reflections.jsonl")
        self.known = list(self.lines)
        self.number = 0
        self.failure: Exception | None = None

    def __call__(self, prompt: str) -> str:
        try:
            answer = self._answer(prompt)
        except Exception as exc:
            hush(exc, self.hide)  # GEPA prints it
            self.failure = exc
            raise
        self.failure = None
        self.number += 1
        return answer

    def _answer(self, prompt: str) -> str:
        """What the model proposes; "" where its answer was cut off or declined, which is then refused as a prompt."""
        if self.number == len(self.known):
            sampling = Sampling(max_tokens=self.job["reflection_tokens"])
            (completion,) = self.writer.write([prompt], sampling, derive(self.job.seed, self.number, "reflection"))
            row = {"number": self.number, "prompt": prompt, "answer": self.hide(completion.text), "finished": completion.finished}
            self.lines.append(row)
            self.known.append(row)
        row = self.known[self.number]
        if row["prompt"] != prompt:
            raise JobError("reflections.jsonl was made by another job", "Start in a fresh folder: job.json must not change once there are answers.")
        return str(row["answer"]) if row["finished"] else ""


def refusal(prompt: str, first: str) -> str:
    """Why the prompt cannot be used, in words; "" where it can. It needs the placeholders of the `first` one, and may have no others."""
    if not prompt.strip():
        return "it is empty, or its writer did not come to the end"
    wanted, there = placeholders(first), placeholders(prompt)
    if lost := [name for name in wanted if name not in there]:
        return f"it has lost {in_braces(lost)}, and so the task itself"
    if strange := [name for name in there if name not in wanted]:
        return f"nothing fills {in_braces(strange)}"
    return ""


def in_braces(names: Sequence[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


def feedback(row: Row, tag: str) -> str:
    """What the expert said about a rollout, as the reflection model reads it."""
    verdict = row["verdict"]
    score = f"Score: {verdict['score']:g}" if verdict["score"] is not None else f"No score: {verdict['unscored_reason']}"
    lacking = f"There was no <{tag}> block in the answer, so there was nothing to judge." if tag and not row["content"] else ""
    return "\n\n".join(part for part in (lacking, verdict["critique"], verdict["deliberation"], score) if part)


def digest(prompt: str) -> str:
    """SHA-256 of the prompt, as 64 hexadecimal digits: a rollout says by it what it was asked."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
