import asyncio
import sys
from typing import Any

from grading import backends
from grading.types import Case
from tests.training import toy
from training.engine.job import Job, main

FIELDS = {
    "policy": str,
    "generation_prompt": str,
    "train": list,
    "validation": list,
    "judge": dict,
    "reflection": dict,
    "calls": int,
    "sampling": dict,
}


def run(job: Job) -> dict[str, Any]:
    """Asks about as many rollouts as it may, and comes back with a politer prompt."""
    lines, metrics, skill = job.lines("rollouts.jsonl"), job.lines("metrics.jsonl"), toy.load_skill(job["policy"])
    written, judge = sum(1 for _ in lines), backends.load(job["judge"])
    for done in range(1, job["calls"] + 1):
        if job.stopping:
            return {"status": "stopped"}
        toy.pause(job)
        prompt = job["train"][done % len(job["train"])]
        if done > written:
            row = toy.rollout(job, "train", 0, prompt, done, skill)
            verdict = asyncio.run(judge.grade([Case(prompt["text"], row["content"])]))[0]
            fields = ("score", "critique", "deliberation", "raw", "unscored_reason")
            lines.append({**row, "verdict": {name: getattr(verdict, name) for name in fields}})
        metrics.append({"done": done, "total": job["calls"]})
    prompt = f"Please: {job['generation_prompt']}"
    return {"status": "done", "prompt": prompt, "calls": job["calls"], "candidates": [{"prompt": prompt, "score": 50.0}]}


if __name__ == "__main__":
    sys.exit(main("optimise", FIELDS, {"content_tag": "", "checkpoint": "", "score_range": None}, run))
