import sys
from typing import Any

from tests.training import toy
from training.engine.job import Job, main

FIELDS = {"judge": dict, "context_prompt": str, "show": str, "traces": int, "tries": int, "examples": str}


def run(job: Job) -> dict[str, Any]:
    """One of the tries gives its source away, the rest are kept up to the number that is wanted."""
    examples, lines, metrics = list(job.lines(job["examples"])), job.lines("traces.jsonl"), job.lines("metrics.jsonl")
    written = {(row["id"], row["sample"]) for row in lines}
    for done, example in enumerate(examples, 1):
        if job.stopping:
            return {"status": "stopped"}
        toy.pause(job)
        for sample in range(job["tries"]):
            reason = "leak" if sample == 0 else ""
            row = {"id": example["id"], "sample": sample, "raw": f"<critique>{example['critique']}</critique>", "score": example["score"]}
            if (example["id"], sample) not in written:
                lines.append({**row, "kept": not reason and sample <= job["traces"], "reason": reason})
        metrics.append({"done": done, "total": len(examples)})
    kept = min(job["traces"], job["tries"] - 1) * len(examples)
    return {"status": "done", "examples": len(examples), "kept": kept, "tried": job["tries"] * len(examples), "rejected": {"leak": len(examples)}}


if __name__ == "__main__":
    sys.exit(main("rewrite", FIELDS, {}, run))
