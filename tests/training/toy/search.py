import sys
from random import Random
from typing import Any

from grading import alignment
from tests.training import toy
from training.engine.job import Job, derive, main

FIELDS = {
    "judge": dict,
    "method": str,
    "writer": (dict, type(None)),
    "given": list,
    "rubric_prompt": str,
    "grading_prompt": str,
    "candidates": int,
    "keep": int,
    "shown": int,
    "draw": str,
    "measure_now": bool,
}


def run(job: Job) -> dict[str, Any]:
    """Grading prompts that hold the texts they were made from; how well each agrees depends on its number and the seed."""
    examples, validation = list(job.lines("examples.jsonl")), list(job.lines("validation.jsonl"))
    lines, metrics = job.lines("candidates.jsonl"), job.lines("metrics.jsonl")
    count = len(job["given"]) if job["method"] == "rubric" and job["writer"] is None else job["candidates"]
    known = {row["number"]: row for row in lines}
    for done, number in enumerate(range(0 if job["measure_now"] else 1, count + 1), 1):
        if job.stopping:
            return {"status": "stopped"}
        toy.pause(job)
        if number not in known:
            known[number] = candidate(job, number, examples, validation)
            lines.append(known[number])
        metrics.append({"done": done, "total": count + job["measure_now"]})
    ranked = sorted((n for n in known if n), key=lambda n: -(known[n]["alignment"]["value"] or 0))
    chosen = ranked[: job["keep"]]
    found = {"prompts": [p for n in chosen for p in known[n]["prompts"]], "by_task": {}, "alignment": known[chosen[0]]["alignment"]}
    return {"status": "done", "chosen": chosen, **found}


def candidate(job: Job, number: int, examples: list[dict[str, Any]], validation: list[dict[str, Any]]) -> dict[str, Any]:
    random = Random(derive(job.seed, number))
    drawn = [] if not number else (random.sample if job["draw"] == "random" else lambda rows, n: rows[:n])(examples, min(job["shown"], len(examples)))
    given = job["given"][number - 1 : number] if number else job["judge"]["options"]["prompts"]
    words = given or ["\n".join([job["grading_prompt"], "As on:", *(e["content"] for e in drawn)])]
    scores = {str(case["id"]): (case["score"] or 0) + random.gauss(0, 5 + number) for case in validation}
    estimate = alignment.alignment([c["score"] for c in validation], list(scores.values()), [c["group"] for c in validation], replicates=50)
    measured = {name: getattr(estimate, name) for name in ("value", "low", "high", "samples", "left_out", "note")}
    return {
        "number": number,
        "prompts": words,
        "by_task": {},
        "examples": [e["id"] for e in drawn],
        "words": "",
        "scores": scores,
        "alignment": measured,
    }


if __name__ == "__main__":
    sys.exit(main("search", FIELDS, {}, run))
