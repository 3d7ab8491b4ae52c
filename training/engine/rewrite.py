"""Context distillation (paper, 4.2): the proxy writes traces with the expert's words before it: `python -m training.engine.rewrite FOLDER`.

What is kept in traces.jsonl is taught by a distil job, as the answer to the plain grading prompt.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from grading.graders import Grader
from grading.realign import context
from grading.secrecy import clean
from grading.types import Case, Message
from training.engine.faults import JobError
from training.engine.files import read_rows
from training.engine.job import Job, derive, main
from training.engine.models import prepare
from training.engine.verdicts import Bench

FIELDS = {"judge": dict, "context_prompt": str, "show": str, "traces": int, "tries": int, "examples": str}
OPTIONAL: dict[str, Any] = {}
CHUNK = 64  # examples whose traces are made and written at a time
LEAK = "leak"


def run(job: Job) -> dict[str, Any]:
    """Traces of each example, a chunk at a time, until `traces` of them are kept or `tries` are made. What is already written is not made again."""
    if not 1 <= job["traces"] <= job["tries"]:
        raise JobError(f"job.json: traces is {job['traces']} and tries {job['tries']}", "Keep 1 or more, and try at least as many.")
    examples = read_examples(job)
    prepare()
    bench = Bench(job["judge"])
    if not isinstance(bench.judge, Grader):
        raise JobError("judge: only a language model can be shown an expert's words", "Give a grading.graders.Grader.")
    lines, metrics = job.lines("traces.jsonl"), job.lines("metrics.jsonl")
    made = {(row["id"], row["sample"]): row for row in lines}
    done = max((row["done"] for row in metrics), default=0)
    started = time.monotonic()
    for start in range(done, len(examples), CHUNK):
        if job.stopping:
            return {"status": "stopped", "examples": start}
        chunk = examples[start : start + CHUNK]
        # The whole chunk, also where some of it was written before a kill: what a seed gives depends on the company.
        rows = [row for row in rewrite(job, bench, bench.judge, chunk, start) if (row["id"], row["sample"]) not in made]
        lines.append(*rows)
        made |= {(row["id"], row["sample"]): row for row in rows}
        metrics.append({"done": start + len(chunk), "total": len(examples), "seconds": round(time.monotonic() - started, 3)})
    kept, rejected = sum(row["kept"] for row in made.values()), Counter(row["reason"] for row in made.values() if row["reason"])
    return {"status": "done", "examples": len(examples), "kept": kept, "tried": len(made), "rejected": dict(rejected)}


def read_examples(job: Job) -> list[dict[str, Any]]:
    """Raises `JobError` for a file that is not there, is empty, or has a row without text or critique, or with the id of another."""
    path = job.folder / job["examples"]
    examples = read_rows(path)
    for number, example in enumerate(examples, 1):
        texts = [example.get(key) for key in ("instructions", "content", "critique", "deliberation")]
        if "id" not in example or not all(isinstance(text, str) for text in texts) or not example["critique"].strip():
            raise JobError(f"{path}: example {number} lacks id, instructions, content, critique or deliberation", "Give every example all of them.")
    if len({example["id"] for example in examples}) < len(examples):
        raise JobError(f"{path}: two examples have the same id", "Give each its own.")
    if not examples:
        raise JobError(f"{path} holds no examples", "Distil when there is feedback to learn from.")
    return examples


def rewrite(job: Job, bench: Bench, grader: Grader, chunk: Sequence[dict[str, Any]], start: int) -> list[dict[str, Any]]:
    """The rows of traces.jsonl for `chunk`, which begins at example number `start`; they depend on the job and the chunk alone.

    The proxy's first prompt is the one that is asked. A trace that is neither kept nor rejected is one more than was wanted.
    """
    cases = [Case(example["instructions"], example["content"]) for example in chunk]
    asked = []
    for case, example in zip(cases, chunk, strict=True):
        *turns, last = grader.prompts_for(case)[0].messages(case, grader.format)
        words = context.words(example["critique"], example["deliberation"], example.get("score"), grader.format, job["show"])
        asked.append([*turns, Message(last.role, context.request(job["context_prompt"], last.content, words))])
    rows: list[list[dict[str, Any]]] = [[] for _ in chunk]
    kept, tried = [0] * len(chunk), 0
    while tried < job["tries"] and (waiting := [i for i, count in enumerate(kept) if count < job["traces"]]):
        n = min(job["traces"] - min(kept[i] for i in waiting), job["tries"] - tried)
        requests = [asked[i] for i in waiting]
        answers = bench.runner.run(grader.model.generate(requests, replace(grader.sampling, n=n), seed=derive(job.seed, start, tried)))
        for i, completions in zip(waiting, answers, strict=True):
            for sample, completion in enumerate(completions, tried):
                verdict = clean(grader.read(completion), bench.hide)
                reason = verdict.unscored_reason or (LEAK if context.leak(verdict.raw, cases[i]) else "")
                keep = not reason and kept[i] < job["traces"]
                kept[i] += keep
                rows[i].append({"id": chunk[i]["id"], "sample": sample, "raw": verdict.raw, "score": verdict.score, "kept": keep, "reason": reason})
        tried += n
    return [row for found in rows for row in found]


if __name__ == "__main__":
    sys.exit(main("rewrite", FIELDS, OPTIONAL, run))
