import sys
from typing import Any

from tests.training import toy
from training.engine.job import Job, main


def run(job: Job) -> dict[str, Any]:
    examples, metrics = list(job.lines(job["examples"])), job.lines("metrics.jsonl")
    for done in range(1, job["sft"]["epochs"] + 1):
        if job.stopping:
            return {"status": "stopped"}
        toy.pause(job)
        metrics.append({"step": done, "done": done, "total": job["sft"]["epochs"], "loss": 1.0 / done})
    folder = job.folder / "proxy"
    digest = toy.save_model(folder, toy.load_skill(job["model"]) + len(examples))
    return {"status": "done", "model": {"path": str(folder), "digest": digest}, "examples": len(examples), "tokens": 1}


if __name__ == "__main__":
    sys.exit(
        main(
            "distil",
            {"model": str, "sft": dict, "examples": str},
            {"score_tag": "score", "adapt": "all", "probe": None, "device_batch": None, "below": None},
            run,
        )
    )
