"""The files of a running job, read into the database: every whole line once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotation import actions as annotation
from training.errors import StageFailed
from training.models import Job, Stage, StepMetric

Row = dict[str, Any]
CHUNK = 1 << 20  # bytes read into one transaction


class NotMine(Exception):
    """Somebody else follows this job by now; they write what it says."""


def read_lines(path: Path, offset: int, limit: int = CHUNK) -> tuple[list[Row], int]:
    """The rows of the whole lines between byte `offset` and about `limit` bytes on, and the offset behind them.

    A last line without its end is left for later. Raises `StageFailed` for a line that is no JSON object.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            block = stream.read(limit)
            if len(block) == limit:
                block += stream.readline()  # a line may be longer than a block
    except FileNotFoundError:
        return [], offset
    whole = block[: block.rfind(b"\n") + 1]
    rows = []
    for line in whole.splitlines():
        try:
            row = json.loads(line)
        except ValueError as exc:
            raise StageFailed(f"{path} has a line that is no JSON near byte {offset}: {line[:80]!r} ({exc}).") from exc
        rows.append(row)
    return rows, offset + len(whole)


def ingest(job_id: int, follower: str) -> bool:
    """Read one more chunk of each of the job's files, rows and offsets in one transaction, and renew the heartbeat. True: something came.

    Raises `NotMine` when another follower has taken over.
    """
    with transaction.atomic():
        job = mine(job_id, follower)
        came = False
        for name, reader in READERS.items():
            rows, offset = read_lines(job.path / name, job.offsets.get(name, 0))
            if rows:
                reader(job, rows)
            came = came or offset != job.offsets.get(name, 0)
            job.offsets[name] = offset
        job.heartbeat = timezone.now()
        job.save(update_fields=["offsets", "progress", "heartbeat"])
    return came


def mine(job_id: int, follower: str) -> Job:
    """The job's row, locked; only its follower may have it."""
    job = Job.objects.select_for_update().get(pk=job_id)
    if job.follower != follower or job.state != Job.State.RUNNING:
        raise NotMine(f"{job} is followed by somebody else")
    return job


def _metrics(job: Job, rows: list[Row]) -> None:
    if job.kind == "rl":
        # Steps that were done again after a crash replace what the lost ones logged.
        latest = {row["step"]: StepMetric(experiment_id=job.experiment_id, job=job, step=row["step"], data=row) for row in rows}
        StepMetric.objects.bulk_create(
            latest.values(), update_conflicts=True, update_fields=["job", "data"], unique_fields=["experiment", "step"], batch_size=500
        )
    job.progress = {"done": rows[-1]["done"], "total": rows[-1]["total"]}


def _rollouts(job: Job, rows: list[Row]) -> None:
    stage = stage_of(job)
    annotation.record_rollouts(job.experiment.domain, str(job), rows)
    graded = [row for row in rows if row.get("grades")]
    if graded and stage.arguments.get("graded_by"):
        annotation.record_proxy_grades(str(job), stage.arguments["graded_by"], list(_grades(graded)))
    judged = [row for row in rows if row.get("verdict")]
    if judged and stage.batch is not None:
        annotation.record_reward_verdicts(stage.batch, judged, run=str(job))


def _grades(rows: list[Row]) -> list[Row]:
    """One row per trace; its rollout is named by step, prompt and index, or by id."""
    who = ("id", "step", "prompt", "index")
    named = [({key: row[key] for key in who if key in row}, row["grades"]) for row in rows]
    return [{**name, "sample": i, **grade} for name, grades in named for i, grade in enumerate(grades)]


def _regrades(job: Job, rows: list[Row]) -> None:
    annotation.record_proxy_grades(str(job), stage_of(job).arguments["graded_by"], _grades(rows))


def stage_of(job: Job) -> Stage:
    return Stage.objects.select_related("batch").get(job=job)


READERS: dict[str, Callable[[Job, list[Row]], None]] = {"metrics.jsonl": _metrics, "rollouts.jsonl": _rollouts, "grades.jsonl": _regrades}
