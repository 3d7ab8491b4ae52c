"""Intervals and selection at the size of a large run: seconds, and memory.

    python bench/statistics_and_selection.py [--repeats 5] [--rollouts 1000000] [--without-database]

Intervals: 10,000 replicates of the hierarchical bootstrap over 60 prompts x 16 rollouts. Selection: 10 proxy grades of each rollout, from an array
and from rows of a PostgreSQL (with the settings of the embedded one) in a folder that goes away; each is a process of its own, whose memory is looked
at before and after. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

GRADES, CHOSEN, REPLICATES = 10, 1_000, 10_000
FILL = """
INSERT INTO annotation_rollout (prompt_id, run, checkpoint, step, index, completion, content, finished, tokens, sampling, created)
SELECT %(prompt)s, 'bench', '', 0, n, 'One line.', 'One line.', true, 3, '{}', now() FROM generate_series(0, %(rollouts)s - 1) n;
INSERT INTO annotation_proxygrade (rollout_id, proxy, run, sample, score, critique, deliberation, raw, unscored_reason, created)
SELECT id, repeat('p', 64), 'bench/grade-0', k, CASE WHEN random() < 0.02 THEN NULL ELSE round((50 + 15 * random_normal())::numeric, 0) END,
    'A fair story, though the end comes early.', '', 'A fair story, though the end comes early. <score>50</score>', '', now()
FROM annotation_rollout, generate_series(0, %(grades)s - 1) k ORDER BY id, k;
VACUUM ANALYZE;
"""


def timed(work: Callable[[], Any], repeats: int) -> dict[str, list[float]]:
    """Wall and processor seconds of each of `repeats` times, after one that does not count."""
    work()
    found: dict[str, list[float]] = {"wall": [], "processor": []}
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        found["wall"].append(time.perf_counter() - wall)
        found["processor"].append(time.process_time() - processor)
    return found


def resident() -> float:
    """The largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def intervals(repeats: int) -> dict[str, dict[str, list[float]]]:
    from grading import alignment, recovery

    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(60), 16).tolist()
    expert, before, after = 50 + 10 * rng.normal(size=(3, len(ids)))
    before, after, options = before + expert, after + 2 * expert, {"replicates": REPLICATES}
    sample = (expert, ids)
    three = {"method": (expert + 20, ids), "base": sample, "ceiling": (expert + 40, ids)}
    runs = {kind: [(scores + shift, same) for shift in (-1, 0, 1)] for kind, (scores, same) in three.items()}
    works: dict[str, Callable[[], Any]] = {
        "mean reward": lambda: alignment.mean_reward(expert, ids, **options),
        "alignment": lambda: alignment.alignment(expert, before, ids, **options),
        "predicted gain": lambda: alignment.predicted_gain(expert, before, ids, **options),
        "alignment change": lambda: alignment.alignment_change(expert, before, after, ids, **options),
        "PGR": lambda: recovery.pgr(**three, **options),
        "PGR over 3 runs of each": lambda: recovery.pgr_over_runs(**runs, **options),
    }
    return {name: timed(work, repeats) for name, work in works.items()}


def from_array(repeats: int, rollouts: int) -> dict[str, Any]:
    from annotation import selection

    grades = np.random.default_rng(0).normal(50, 15, (rollouts, GRADES)).round()
    grades[np.random.default_rng(1).random(grades.shape) < 0.02] = np.nan
    ids, before = list(range(rollouts)), resident()
    found = timed(lambda: selection.most(ids, selection.relative_spreads(grades), CHOSEN, Random(1)), repeats)
    return {**found, "before": before, "after": resident()}


def fill(rollouts: int) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from annotation.models import Domain, Prompt

    call_command("migrate", verbosity=0)
    domain = Domain.objects.create(slug="stories", name="Stories", generation_prompt="Write.", grading_prompt="Judge {CONTENT}.")
    prompt = Prompt.objects.create(domain=domain, split="train", text="Write a story about the lighthouse ledger.", digest="bench")
    with connection.cursor() as cursor:
        for statement in FILL.split(";\n")[:-1]:
            cursor.execute(statement, {"prompt": prompt.pk, "rollouts": rollouts, "grades": GRADES})


def from_rows(repeats: int) -> dict[str, Any]:
    import django

    django.setup()
    from annotation import select
    from annotation.models import Rollout

    ids = sorted(Rollout.objects.values_list("pk", flat=True))
    before = resident()
    found = timed(lambda: select.choose("max-variance", ids, CHOSEN, 1, "p" * 64), repeats)
    return {**found, "before": before, "after": resident()}


def apart(env: dict[str, str], *arguments: str) -> Any:
    """This file in a process of its own with `arguments`; what it prints, read as JSON."""
    done = subprocess.run([sys.executable, __file__, "--part", *arguments], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def part(kind: str, *numbers: str) -> Any:
    """What `apart` asks for."""
    parts: dict[str, Callable[..., Any]] = {"intervals": intervals, "from-array": from_array, "fill": fill, "from-rows": from_rows}
    return parts[kind](*map(int, numbers))


def on_a_server(repeats: int, rollouts: int) -> Any:
    from config import embedded

    home = Path(tempfile.mkdtemp(prefix="touchstone-bench-", dir="/tmp"))
    home.chmod(0o755 if os.geteuid() == 0 else 0o700)
    try:
        places = embedded.start(home)
        env = {key: value for key, value in os.environ.items() if not key.startswith("TOUCHSTONE_")} | {
            "TOUCHSTONE_HOME": str(home),
            "DATABASE_URL": f"postgresql://postgres@/postgres?host={places.sockets}",
            "REDIS_URL": f"unix://{places.sockets / 'valkey.sock'}?db=0",
            "TOUCHSTONE_LOCAL": "yes",
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        apart(env, "fill", str(rollouts))
        return apart(env, "from-rows", str(repeats))
    finally:
        embedded.let_go(home)
        embedded.wait_until_stopped(home)
        shutil.rmtree(home, ignore_errors=True)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def loads() -> str:
    return ", ".join(f"{load:.1f}" for load in os.getloadavg())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="times that each is done (default 5)")
    parser.add_argument("--rollouts", type=int, default=1_000_000, help="to select from (default 1,000,000)")
    parser.add_argument("--without-database", action="store_true", help="intervals and the array only")
    options = parser.parse_args()

    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    print(f"Load average at the beginning: {loads()}; median of {options.repeats} (range), one core.")
    print(f"\n| {REPLICATES:,} replicates over 60 prompts x 16 | seconds | processor seconds |\n|---|---|---|")
    for name, found in apart(env, "intervals", str(options.repeats)).items():
        print(f"| {name} | {spread(found['wall'])} | {spread(found['processor'])} |", flush=True)
    print(f"\n| {CHOSEN:,} of {options.rollouts:,} rollouts by {GRADES} grades | seconds | processor seconds here | MB before | after |")
    print("|---|---|---|---|---|")
    kinds = {"from an array of grades": lambda: apart(env, "from-array", str(options.repeats), str(options.rollouts))}
    if not options.without_database:
        kinds["from rows in PostgreSQL"] = lambda: on_a_server(options.repeats, options.rollouts)
    for name, measure in kinds.items():
        found = measure()
        print(f"| {name} | {spread(found['wall'])} | {spread(found['processor'])} | {found['before']:.0f} | {found['after']:.0f} |", flush=True)
    print(f"\nLoad average at the end: {loads()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        print(json.dumps(part(*sys.argv[2:])))
    else:
        main()
