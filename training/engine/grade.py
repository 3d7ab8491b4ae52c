"""Have a judge grade texts: `python -m training.engine.grade FOLDER`."""

from __future__ import annotations

import sys
import time
from typing import Any

from grading.types import Case
from training.engine.faults import JobError
from training.engine.files import read_rows
from training.engine.job import Job, derive, main
from training.engine.models import prepare
from training.engine.verdicts import Bench, grades

FIELDS = {"judge": dict}
OPTIONAL: dict[str, Any] = {"cases": None}
CHUNK = 128  # cases graded and written at a time


def run(job: Job) -> dict[str, Any]:
    """Grades of the cases in job.json or in cases.jsonl beside it, a chunk at a time. What is already written is not graded again."""
    cases = job["cases"] if job["cases"] is not None else read_rows(job.folder / "cases.jsonl")
    if bad := next((case for case in cases if not {"id", "instructions", "content"} <= set(case)), None):
        raise JobError(f"a case lacks id, instructions or content: {bad!r}"[:300], "Give every case all three.")
    prepare()
    bench = Bench(job["judge"])
    lines, metrics = job.lines("grades.jsonl"), job.lines("metrics.jsonl")
    written = {row["id"] for row in lines}
    started = time.monotonic()
    for start in range(0, len(cases), CHUNK):
        if job.stopping:
            return {"status": "stopped", "graded": start}
        chunk = cases[start : start + CHUNK]
        if not written.issuperset(case["id"] for case in chunk):
            # The whole chunk, also where only some are missing: what a seed gives depends on the company.
            verdicts = bench.grade([Case(case["instructions"], case["content"]) for case in chunk], derive(job.seed, start))
            pairs = zip(chunk, verdicts, strict=True)
            lines.append(*({"id": case["id"], "grades": grades(verdict)} for case, verdict in pairs if case["id"] not in written))
        metrics.append({"done": start + len(chunk), "total": len(cases), "seconds": round(time.monotonic() - started, 3)})
    return {"status": "done", "graded": len(cases)}


if __name__ == "__main__":
    sys.exit(main("grade", FIELDS, OPTIONAL, run))
