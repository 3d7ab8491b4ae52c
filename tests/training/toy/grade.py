import sys
from typing import Any

from tests.training import toy
from training.engine.job import Job, main


def run(job: Job) -> dict[str, Any]:
    cases, lines, metrics = list(job.lines("cases.jsonl")), job.lines("grades.jsonl"), job.lines("metrics.jsonl")
    written = {row["id"] for row in lines}
    skill, n = toy.judge_skill(job["judge"]), job["judge"]["options"].get("n", 1)
    for done, case in enumerate(cases, 1):
        if job.stopping:
            return {"status": "stopped"}
        toy.pause(job)
        if case["id"] not in written:
            lines.append({"id": case["id"], "grades": toy.grades(job.seed, skill, case["content"], n)})
        metrics.append({"done": done, "total": len(cases)})
    return {"status": "done", "graded": len(cases)}


if __name__ == "__main__":
    sys.exit(main("grade", {"judge": dict}, {}, run))
