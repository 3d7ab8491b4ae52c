"""Sample rollouts from a checkpoint, and have a proxy grade them: `python -m training.engine.sample FOLDER`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Iterator
from math import fsum
from typing import TYPE_CHECKING, Any

from grading.models.base import LanguageModel
from grading.prompts import extract
from grading.types import Case, Completion, Message, Sampling
from training.engine.faults import JobError
from training.engine.job import Fields, Job, derive, main
from training.engine.models import check_folder, prepare
from training.engine.serve import writing
from training.engine.verdicts import Bench, grades

if TYPE_CHECKING:
    from training.engine.divergence import Divergence

FIELDS: Fields = {"model": (str, dict), "checkpoint": str, "step": int, "requests": list, "sampling": dict}
OPTIONAL = {"content_tag": "", "reference": None, "serve": None}
Piece = tuple[dict[str, Any], int, list[dict[str, Any]]]  # a request, the number of the chunk, its prompts
CHUNK = 256  # rollouts made, graded and written at a time


def run(job: Job) -> dict[str, Any]:
    """Rollouts and grades of each request, a chunk of prompts at a time. What is already written is not made again.

    `model` is a folder, or a language model by backend and options, such as one that a server has. With `serve`, the words of a command, a vLLM that
    it starts has the folder. With a `reference`, also how far the policy has moved from the model in that folder: see `training.engine.divergence`.
    """
    if isinstance(job["model"], dict) and job["reference"] is not None:
        raise JobError("a reference needs the policy's own weights, and the model is one that a backend has", "Give its folder, or no reference.")
    for key in ("model", "reference"):
        if isinstance(job[key], str):
            check_folder(job[key], key)
    work = list(_chunks(job))
    prepare()
    with writing(job, job["model"], keep_tokens=job["reference"] is not None) as model:
        return _sample(job, model, work)


def _sample(job: Job, model: LanguageModel, work: list[Piece]) -> dict[str, Any]:
    divergence = _divergence(job, model)
    lines, metrics = job.lines("rollouts.jsonl"), job.lines("metrics.jsonl")
    written = {(row["request"], row["prompt"], row["index"]) for row in lines}
    judges = {request["name"]: request["judge"] for request, _, _ in work if request["judge"] is not None}
    benches = {name: Bench(judge) for name, judge in judges.items()}
    total = sum(len(prompts) * request["per_prompt"] for request, _, prompts in work)
    done, started = 0, time.monotonic()
    for request, chunk, prompts in work:
        if job.stopping:
            return {"status": "stopped", "rollouts": done}
        keys = [(request["name"], prompt["id"], index) for prompt in prompts for index in range(request["per_prompt"])]
        if not written.issuperset(keys):
            asked = [[Message("user", prompt["text"])] for prompt in prompts]
            answers = _answers(job, model, request, chunk, asked)
            rows = _rows(job, request, prompts, answers)
            if divergence is not None:
                for row, moved in zip(rows, divergence.moved(asked, answers), strict=True):
                    row["moved"] = moved
            if request["name"] in benches:
                _grade(job, benches[request["name"]], request, chunk, prompts, rows)
            lines.append(*(row for row, key in zip(rows, keys, strict=True) if key not in written))
        done += len(keys)
        metrics.append({"done": done, "total": total, "seconds": round(time.monotonic() - started, 3)})
    return {"status": "done", "rollouts": total, **(_kl(lines) if divergence is not None else {})}


def _divergence(job: Job, policy: LanguageModel) -> Divergence | None:
    if job["reference"] is None:
        return None
    from grading.models.transformers import TransformersModel
    from training.engine.divergence import Divergence

    return Divergence(policy if isinstance(policy, TransformersModel) else TransformersModel(job["model"]), job["reference"])


def _kl(rows: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    """`kl`: how far the policy has moved, as the mean over written tokens; `kl_rollout`: over rollouts. Chance may put one below 0."""
    found = [(row["moved"], row["tokens"]) for row in rows]
    total, tokens = fsum(moved for moved, _ in found), sum(count for _, count in found)
    return {"kl": total / tokens if tokens else None, "kl_rollout": total / len(found) if found else None}


def _chunks(job: Job) -> Iterator[Piece]:
    """The work in pieces that depend on the job alone, so that a piece made again is the same."""
    for request in job["requests"]:
        try:
            prompts, size = request["prompts"], max(1, CHUNK // request["per_prompt"])
            name, _judge = request["name"], request["judge"]
        except (TypeError, KeyError) as exc:
            raise JobError(f"job.json: a request lacks {exc}", "Give each request name, prompts, per_prompt and judge.") from exc
        if not name or request["per_prompt"] < 1:
            raise JobError(f"job.json: request {name!r} asks for {request['per_prompt']} rollouts of each prompt", "Ask for 1 or more.")
        for chunk, start in enumerate(range(0, len(prompts), size)):
            yield request, chunk, prompts[start : start + size]


def _answers(job: Job, model: LanguageModel, request: dict[str, Any], chunk: int, asked: list[list[Message]]) -> list[list[Completion]]:
    sampling = Sampling(job["sampling"]["temperature"], job["sampling"]["max_tokens"], request["per_prompt"])
    return asyncio.run(model.generate(asked, sampling, seed=derive(job.seed, request["name"], chunk)))


def _rows(job: Job, request: dict[str, Any], prompts: list[dict[str, Any]], answers: list[list[Completion]]) -> list[dict[str, Any]]:
    return [
        _line(job, request, prompt, index, completion)
        for prompt, completions in zip(prompts, answers, strict=True)
        for index, completion in enumerate(completions)
    ]


def _line(job: Job, request: dict[str, Any], prompt: dict[str, Any], index: int, completion: Completion) -> dict[str, Any]:
    return {
        "request": request["name"],
        "step": job["step"],
        "prompt": prompt["id"],
        "index": index,
        "completion": completion.text,
        "content": extract(completion.text, job["content_tag"]),
        "finished": completion.finished,
        "tokens": completion.usage.output_tokens,
        "sampling": job["sampling"],
        "checkpoint": job["checkpoint"],
        "grades": [],
    }


def _grade(job: Job, bench: Bench, request: dict[str, Any], chunk: int, prompts: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    texts = {prompt["id"]: prompt["text"] for prompt in prompts}
    verdicts = bench.grade([Case(texts[row["prompt"]], row["content"]) for row in rows], derive(job.seed, request["name"], chunk, "judge"))
    for row, verdict in zip(rows, verdicts, strict=True):
        row["grades"] = grades(verdict)


if __name__ == "__main__":
    sys.exit(main("sample", FIELDS, OPTIONAL, run))
