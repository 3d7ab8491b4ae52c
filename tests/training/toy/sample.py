import sys
from typing import Any

from tests.training import toy
from training.engine.job import Job, main

FIELDS = {"model": str, "checkpoint": str, "step": int, "requests": list, "sampling": dict}


def run(job: Job) -> dict[str, Any]:
    skill, lines, metrics = toy.load_skill(job["model"]), job.lines("rollouts.jsonl"), job.lines("metrics.jsonl")
    written = {(row["prompt"], row["index"]) for row in lines}
    work = [(request, prompt) for request in job["requests"] for prompt in request["prompts"]]
    for done, (request, prompt) in enumerate(work, 1):
        if job.stopping:
            return {"status": "stopped"}
        toy.pause(job)
        for index in range(request["per_prompt"]):
            row = toy.rollout(job, request["name"], job["step"], prompt, index, skill)
            if judge := request["judge"]:
                row["grades"] = toy.grades(job.seed, toy.judge_skill(judge), row["content"], judge["options"].get("n", 1))
            if (prompt["id"], index) not in written:
                lines.append(row)
        metrics.append({"done": done, "total": len(work)})
    moved = {} if job["reference"] is None else {"kl": 0.01 * (skill - toy.load_skill(job["reference"]))}
    return {"status": "done", "rollouts": sum(len(r["prompts"]) * r["per_prompt"] for r in job["requests"]), **moved}


if __name__ == "__main__":
    sys.exit(main("sample", FIELDS, {"content_tag": "", "reference": None, "serve": None}, run))
