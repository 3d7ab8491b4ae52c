"""Search for a grading prompt that brings the proxy nearer to the expert: `python -m training.engine.search FOLDER` (paper, section 3)."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from grading.alignment import Estimate, alignment
from grading.backends import load
from grading.errors import GraderError
from grading.graders import Grader
from grading.prompts import GradingPrompt, task_digest
from grading.realign.examples import Example
from grading.realign.fewshot import in_prompt, prefilled
from grading.realign.rubric import PLACE, ask_writer, lacking, read_written
from grading.realign.search import choose, draw, ensemble
from grading.secrecy import hiding
from grading.types import Case, Completion, TraceFormat
from training.engine.faults import JobError
from training.engine.files import read_rows
from training.engine.job import Job, derive, main
from training.engine.models import prepare
from training.engine.verdicts import Bench

METHODS = ("rubric", "few-shot", "few-shot-prefilled", "per-prompt-rubric", "per-prompt-few-shot")
FIELDS = {
    "judge": dict,
    "method": str,
    "rubric_prompt": str,
    "grading_prompt": str,
    "candidates": int,
    "keep": int,
    "shown": int,
    "draw": str,
    "measure_now": bool,
}
OPTIONAL: dict[str, Any] = {"writer": None, "writer_tokens": 20_000, "given": []}
CHUNK = 128  # cases graded and written at a time
WRITERS = 8  # requests that a writer has under way at a time
NOTE = 200  # characters
SCORED = 0.5  # of the cases, without which a candidate is no reward, however well the rest may agree

Row = dict[str, Any]


def run(job: Job) -> dict[str, Any]:
    """Make the candidates, measure each on the validation cases and keep the best; or, per prompt, make the prompts of each task.

    The first candidates are the prompts that are `given`, which a person wrote with all examples at hand; the others, as far as `candidates` goes,
    are made here. Without a writer, a search for rubrics has those that are given and no others.

    candidates.jsonl has a line for each candidate, in order; what is written there, in words.jsonl (the writer's answers) or in scores.jsonl is
    not made again.
    """
    _check(job)
    bench = Bench(job["judge"])
    if not isinstance(bench.judge, Grader):
        raise JobError(f"the judge is a {type(bench.judge).__name__}, which has no prompts to search for", "Give a grading.graders.Grader.")
    examples = _examples(job)
    prepare()
    if job["method"].startswith("per-prompt"):
        return _per_prompt(job, bench.judge.format, examples)
    return _search(job, bench, bench.judge, examples)


def _check(job: Job) -> None:
    method, how = job["method"], job["draw"]
    if method not in METHODS or how not in ("random", "first"):
        raise JobError(f"there is no method {method!r} with the draw {how!r}", f"Methods are {', '.join(METHODS)}; draws are random and first.")
    if min(job["candidates"], job["keep"], job["shown"]) < 1:
        raise JobError("candidates, keep and shown must be 1 or more", "Correct them.")
    if job["writer"] is None and (method == "per-prompt-rubric" or (method == "rubric" and not job["given"])):
        raise JobError(f"{method} needs a writer", "Name a language model, give a prompt that a person wrote, or choose a few-shot method.")
    if "rubric" in method and job["writer"] is not None and PLACE not in job["rubric_prompt"]:
        raise JobError(f"rubric_prompt has no {PLACE}", "Put it where the texts with their traces belong.")
    GradingPrompt(job["grading_prompt"])


def _examples(job: Job) -> list[Example]:
    rows = read_rows(job.folder / "examples.jsonl")
    try:
        examples = [
            Example(
                row["id"], Case(row["instructions"], row["content"]), row["critique"], row["deliberation"], row["score"], tuple(row.get("proxy", ()))
            )
            for row in rows
        ]
    except KeyError as exc:
        raise JobError(f"an example lacks {exc}", "Give every example id, instructions, content, critique, deliberation and score.") from exc
    if "few-shot" in job["method"]:  # a grader imitates what it is shown, so it is shown whole traces only
        examples = [example for example in examples if example.is_whole]
    if not examples:
        raise JobError(f"none of the {len(rows)} examples can be learnt from", "Search when there are verdicts with a critique and a score.")
    return examples


def _search(job: Job, bench: Bench, now: Grader, examples: list[Example]) -> dict[str, Any]:
    cases, candidates = _cases(job), _candidates(job, now.format, examples)
    if candidates is None:
        return {"status": "stopped", "candidates": 0}
    lines, scorer = job.lines("candidates.jsonl"), Scorer(job, bench, cases, len(candidates))
    rows = {row["number"]: row for row in lines}
    for number, row in candidates.items():
        if number in rows or not row["prompts"]:
            scorer.pass_over()
        else:
            scores = scorer.scores(number, now if number == 0 else now.prompted(row["prompts"]))
            if scores is None:
                return {"status": "stopped", "candidates": len(rows)}
            row |= {"scores": {str(case["id"]): score for case, score in zip(cases, scores, strict=True)}, "alignment": _aligned(cases, scores)}
        if number not in rows:
            lines.append(row)
            rows[number] = row
    return _best(job, cases, rows)


def _candidates(job: Job, fmt: TraceFormat, examples: list[Example]) -> dict[int, Row] | None:
    """All candidates by number, not measured yet; None where the job was told to stop before they were written."""
    own, options = job["grading_prompt"], job["judge"]["options"]
    rows = {0: _row(0, options["prompts"], by_task=options.get("by_task"))} if job["measure_now"] else {}
    for number, prompt in enumerate(job["given"], 1):
        rows[number] = _written(number, prompt, lacking(prompt, own, fmt), examples)
    until = 0 if job["method"] == "rubric" and job["writer"] is None else job["candidates"]
    shown = {
        number: draw(examples, job["shown"], job["draw"], derive(job.seed, "draw", number)) for number in range(len(job["given"]) + 1, until + 1)
    }
    if job["method"] == "rubric" and shown:
        answers = _answers(job, fmt, {str(number): drawn for number, drawn in shown.items()})
        if answers is None:
            return None
        for number, drawn in shown.items():
            answer = answers[str(number)]
            rows[number] = _written(number, *read_written(answer, own, fmt), drawn, answer.text)
        return rows
    make = prefilled if job["method"] == "few-shot-prefilled" else in_prompt
    return rows | {number: _row(number, [make(own, drawn, fmt)], drawn) for number, drawn in shown.items()}


def _cases(job: Job) -> list[Row]:
    cases = read_rows(job.folder / "validation.jsonl")
    if bad := next((case for case in cases if not {"id", "group", "instructions", "content", "score"} <= set(case)), None):
        raise JobError(f"a validation case lacks id, group, instructions, content or score: {bad!r}"[:300], "Give every case all five.")
    return cases


def _row(number: int, prompts: list[Any], examples: Sequence[Example] = (), *, by_task: Row | None = None, words: str = "", note: str = "") -> Row:
    """A line of candidates.jsonl that is not measured: `note` says why where it will not be."""
    return {
        "number": number,
        "prompts": prompts,
        "by_task": by_task or {},
        "examples": [example.id for example in examples],
        "words": words,
        "scores": {},
        "alignment": asdict(Estimate(None, note=note[:NOTE])),
    }


def _written(number: int, prompt: str, problem: str, shown: list[Example], words: str = "") -> Row:
    return _row(number, [] if problem else [prompt], shown, words=words or prompt, note=problem)


def _aligned(cases: list[Row], scores: Sequence[float | None]) -> dict[str, Any]:
    return asdict(alignment([case["score"] for case in cases], scores, [case["group"] for case in cases]))


def _best(job: Job, cases: list[Row], rows: Mapping[int, Row]) -> dict[str, Any]:
    """The result: the best candidates, all their prompts together and the alignment of their mean score. What the proxy has now is not among them."""
    candidates = {number: row for number, row in rows.items() if number}
    chosen = choose({number: row["alignment"]["value"] for number, row in candidates.items() if _scores_enough(row)}, job["keep"])
    if not chosen:
        reason, _ = Counter(row["alignment"]["note"] for row in candidates.values()).most_common(1)[0]
        raise JobError(
            f"none of the {len(candidates)} candidates can be chosen: {reason}",
            "candidates.jsonl has what was written. Mend the rubric-writing prompt, choose another writer, or validate on more verdicts.",
        )
    scores = [[candidates[number]["scores"][str(case["id"])] for case in cases] for number in chosen]
    prompts = [prompt for number in chosen for prompt in candidates[number]["prompts"]]
    return {"status": "done", "chosen": chosen, "prompts": prompts, "by_task": {}, "alignment": _aligned(cases, ensemble(scores))}


def _scores_enough(row: Row) -> bool:
    return sum(score is not None for score in row["scores"].values()) >= SCORED * len(row["scores"])


def _per_prompt(job: Job, fmt: TraceFormat, examples: list[Example]) -> dict[str, Any]:
    """Prompts for each task that has examples (paper, section 3.3): one candidate, which nothing is measured on."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(task_digest(example.case.instructions), []).append(example)
    shown = {task: draw(own, job["shown"], job["draw"], derive(job.seed, "draw", task)) for task, own in groups.items()}
    words, problem = "", ""
    if job["method"] == "per-prompt-few-shot":
        # As turns: in the prompt they may cost a weak grader its form, and nothing is measured here that would show it.
        by_task: dict[str, list[Any]] = {task: [prefilled(job["grading_prompt"], own, fmt)] for task, own in shown.items()}
    else:
        answers = _answers(job, fmt, shown)
        if answers is None:
            return {"status": "stopped", "candidates": 0}
        read = {task: read_written(answers[task], job["grading_prompt"], fmt) for task in shown}
        by_task = {task: [prompt] for task, (prompt, problem) in read.items() if not problem}
        words = "\n\n".join(answers[task].text for task in shown)
        problem = next((problem for _, problem in read.values() if problem), "")
        if not by_task:
            raise JobError(f"no task has got a prompt: {problem}", "words.jsonl has what was written. Mend the rubric-writing prompt.")
    note = f"Not measured. {len(shown) - len(by_task)} of {len(shown)} tasks have no prompt of their own: {problem}" if problem else "Not measured."
    prompts = job["judge"]["options"]["prompts"]
    row = _row(1, prompts, [example for own in shown.values() for example in own], by_task=by_task, words=words, note=note)
    lines = job.lines("candidates.jsonl")
    if not list(lines):
        lines.append(row)
    return {"status": "done", "chosen": [1], "prompts": prompts, "by_task": by_task, "alignment": row["alignment"]}


def _answers(job: Job, fmt: TraceFormat, shown: Mapping[str, Sequence[Example]]) -> dict[str, Completion] | None:
    """The writer's answer for each key of `shown`; None where the job was told to stop before all were there."""
    lines, metrics = job.lines("words.jsonl"), job.lines("metrics.jsonl")
    known = {row["key"] for row in lines}
    missing = [key for key in shown if key not in known]
    writer, hide = load(job["writer"]), hiding(job["writer"], environment=False)

    async def ask(keys: Sequence[str]) -> list[Completion | BaseException]:
        more: Row = {"max_tokens": job["writer_tokens"]}
        asked = (ask_writer(writer, job["rubric_prompt"], shown[key], fmt, seed=derive(job.seed, "write", key), **more) for key in keys)
        return await asyncio.gather(*asked, return_exceptions=True)

    with asyncio.Runner() as runner:
        for start in range(0, len(missing), WRITERS):
            if job.stopping:
                return None
            keys = missing[start : start + WRITERS]
            found = runner.run(ask(keys))
            answers = {key: answer for key, answer in zip(keys, found, strict=True) if isinstance(answer, Completion)}
            lines.append(*({"key": key, "text": hide(a.text), "finished": a.finished, "failure": hide(a.failure)} for key, a in answers.items()))
            if job["method"] != "rubric":  # whose progress is in cases
                metrics.append({"done": len(shown) - len(missing) + start + len(keys), "total": len(shown)})
            if failure := next((answer for answer in found if isinstance(answer, BaseException)), None):
                if isinstance(failure, GraderError):
                    raise JobError(
                        f"the writer failed: {failure}", "Wait until it answers, then run the job again: what it wrote is kept."
                    ) from failure
                raise failure
    return {row["key"]: Completion(row["text"], row["finished"], failure=row["failure"]) for row in lines}


class Scorer:
    """The mean scores that graders give the cases, a chunk at a time. What is already written is not graded again."""

    def __init__(self, job: Job, bench: Bench, cases: list[Row], candidates: int) -> None:
        self.job, self.bench, self.cases = job, bench, cases
        self.lines, self.metrics = job.lines("scores.jsonl"), job.lines("metrics.jsonl")
        self.known = {(row["number"], row["id"]): row["score"] for row in self.lines}
        self.done, self.total, self.started = 0, candidates * len(cases), time.monotonic()

    def pass_over(self) -> None:
        """A candidate that is there already, or that cannot be asked."""
        self._went_on(len(self.cases))

    def scores(self, number: int, grader: Grader) -> list[float | None] | None:
        """Of each case, as candidate `number` gives them; None where the job was told to stop in between."""
        self.bench.judge = grader
        for start in range(0, len(self.cases), CHUNK):
            if self.job.stopping:
                return None
            chunk = self.cases[start : start + CHUNK]
            new = [case["id"] for case in chunk if (number, case["id"]) not in self.known]
            if new:
                # The whole chunk, also where only some are missing: what a seed gives depends on the company.
                verdicts = self.bench.grade([Case(case["instructions"], case["content"]) for case in chunk], derive(self.job.seed, number, start))
                found = {case["id"]: verdict.score for case, verdict in zip(chunk, verdicts, strict=True)}
                self.lines.append(*({"number": number, "id": id, "score": found[id]} for id in new))
                self.known |= {(number, id): found[id] for id in new}
            self._went_on(len(chunk))
        return [self.known[number, case["id"]] for case in self.cases]

    def _went_on(self, cases: int) -> None:
        self.done += cases
        self.metrics.append({"done": self.done, "total": self.total, "seconds": round(time.monotonic() - self.started, 3)})


if __name__ == "__main__":
    sys.exit(main("search", FIELDS, OPTIONAL, run))
