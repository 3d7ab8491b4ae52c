"""A job of several processes that do not fail together. UNEVEN says which of them fail, and when: {"RANK": seconds}."""

import json
import os
import sys
import time
from typing import Any

from training.engine import job
from training.engine.faults import JobError

job.GRACE = 4


def run(work: job.Job) -> dict[str, Any]:
    fails = json.loads(os.environ["UNEVEN"]).get(str(work.rank))
    if fails is None:
        while not work.stopping:
            time.sleep(0.05)
        raise RuntimeError("Connection closed by peer")  # as a process says that was left alone
    time.sleep(fails)
    raise JobError(f"process {work.rank} met a wall", "Go around it.")


if __name__ == "__main__":
    if os.environ.get("RANK") == "0":
        time.sleep(1)  # it starts slowly, too
    sys.exit(job.main("uneven", {}, {}, run))
