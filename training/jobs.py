"""A training job is a folder and a process: made here, started here, and found again after a crash."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from training import processes
from training.engine.files import write_json
from training.errors import StageFailed
from training.models import Experiment, Job
from training.warm import Running, Warm

STALE_SECONDS = 15.0  # a follower looks after its job every second or so; silent for this long, it counts as dead
MAX_ATTEMPTS = 3
TRAINED = ("rl", "distil", "scalar")  # kinds of job that several processes may carry out together
FORKED = "training.engine.warm"  # on the command line of a job's process that was forked
SOMEBODY_ELSE = 75  # exit code of an engine that finds its folder locked
# The engine knows neither Django nor the database, and what it cannot see it cannot leak. Keys of model providers it does need.
NOT_FOR_ENGINES = ("DJANGO_", "TOUCHSTONE_", "CELERY_", "DATABASE_", "REDIS_", "SECRET_KEY", "PG")


def make(experiment: Experiment, key: str, kind: str, spec: Mapping[str, Any], files: Mapping[str, Iterable[Mapping[str, Any]]] | None = None) -> Job:
    """The job `key` of the experiment: the one there is, or a new one with `spec` as its job.json and `files` (name -> rows) beside it.

    Call it within a transaction. Raises `StageFailed` where the folder cannot be written.
    """
    if job := experiment.jobs.filter(key=key).first():
        return job
    folder = Path(settings.JOBS_DIR) / experiment.name / key
    try:
        # Nothing of this experiment ran there: what lies there was left by a transaction that failed, or by another database.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, rows in (files or {}).items():
            with (folder / name).open("w") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in rows)
        (folder / "job.json").write_text(json.dumps({"kind": kind, "name": f"{experiment.name}/{key}", **spec, **equipment(kind)}, indent=1))
    except OSError as exc:
        raise StageFailed(f"The job folder {folder} cannot be written: {exc.strerror or exc}.", "Make room or permit it, then resume.") from exc
    return Job.objects.create(experiment=experiment, key=key, kind=kind, folder=str(folder))


def equipment(kind: str) -> dict[str, Any]:
    """What a job of that kind is told of the machines that it has: how much fits a device, and the servers that write rollouts."""
    found: dict[str, Any] = {}
    if kind in TRAINED and settings.DEVICE_BATCH:
        found["device_batch"] = settings.DEVICE_BATCH
    if kind in ("sample", "optimise") and settings.VLLM_COMMAND:
        found["serve"] = settings.VLLM_COMMAND
    if kind == "rl" and settings.VLLM_POLICY_URL:
        found["vllm"] = {"base_url": settings.VLLM_POLICY_URL}
    return found


def amend(job: Job, **changes: Any) -> None:
    """Change what the job is told, before it runs again. Raises `StageFailed` where its folder cannot be written."""
    path = job.path / "job.json"
    try:
        write_json(path, json.loads(path.read_text()) | changes)
    except (OSError, ValueError) as exc:
        raise StageFailed(f"{path} cannot be changed: {exc}.", "See that the folder is whole and may be written, then try again.") from exc


def requeue(job: Job) -> None:
    """Let a job that was stopped or failed run again, from where it was. One that still runs goes on running."""
    (job.path / "stop").unlink(missing_ok=True)
    if job.state in (Job.State.STOPPED, Job.State.FAILED, Job.State.QUEUED):
        # Before the row says so: whoever takes the job then must not find the old result.
        (job.path / "result.json").unlink(missing_ok=True)
        Job.objects.filter(pk=job.pk).update(state=Job.State.QUEUED, attempts=0, error="", ended=None, follower="", heartbeat=None, pid=None)


def claim(job_id: int, follower: str) -> bool:
    """Make `follower` the one who follows the job. False where somebody else does, or nothing is left to follow."""
    job, now = Job.objects.get(pk=job_id), timezone.now()
    if job.state != Job.State.QUEUED and not is_unattended(job):
        return False
    # By the row as it was read: of two who try at once, one changes it first.
    free = Job.objects.filter(pk=job_id, state=job.state, follower=job.follower, heartbeat=job.heartbeat)
    return free.update(state=Job.State.RUNNING, follower=follower, heartbeat=now, started=job.started or now) == 1


def is_unattended(job: Job) -> bool:
    """Does a running job have no follower any more: given back, silent for too long, or dead on this machine?"""
    if job.state != Job.State.RUNNING:
        return False
    silent = job.heartbeat is None or job.heartbeat < timezone.now() - timedelta(seconds=STALE_SECONDS)
    return silent or processes.is_gone(job.follower)


def launch(job: Job) -> Running:
    """Start the job's process in a session of its own, so that it outlives whoever started it. What it prints goes to log.txt."""
    for name in ("stop", "result.json"):
        (job.path / name).unlink(missing_ok=True)
    log = job.path / "log.txt"
    launched = launcher(job.kind)
    if settings.TRAINING_WARM and not launched:
        return warm(settings.TRAINING_ENGINE).start(job.kind, job.folder, str(log), _environment())
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, *launched, "-m", f"{settings.TRAINING_ENGINE}.{job.kind}", job.folder],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=settings.BASE_DIR,
            env=_environment(),
            start_new_session=True,
        )


def launcher(kind: str) -> list[str]:
    """What stands between the interpreter and a job of that kind: `accelerate launch`, where the operator says so and the job trains."""
    how = settings.ACCELERATE
    if not how or kind not in TRAINED:
        return []
    options = ["--config_file", how]
    if how.isdecimal():
        options = ["--multi_gpu", "--num_processes", how, "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    # A free port: several experiments train at the same time.
    return ["-m", "accelerate.commands.launch", *options, "--main_process_port", "0"]


def warm_up() -> None:
    """Have the process that jobs are forked from load its libraries, where there is one. It takes seconds, for which nobody need wait here."""
    if settings.TRAINING_WARM:
        warm(settings.TRAINING_ENGINE).ready(_environment())


@cache
def warm(package: str) -> Warm:
    return Warm(package, settings.BASE_DIR)


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_FOR_ENGINES)}
    # One thread each: experiments run side by side, and small models lose more by sharing cores than they win.
    return {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **environment}


def is_alive(job: Job) -> bool:
    """Does the process that the row names still work in this folder? A process id that went to somebody else does not count."""
    if job.pid is None:
        return False
    words = processes.words(job.pid)
    return job.folder in words or (FORKED in words and is_locked(job))


def is_locked(job: Job) -> bool:
    """Does any process hold the folder's lock?"""
    try:
        with (job.path / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def read_result(job: Job) -> dict[str, Any] | None:
    """What the process left as its result; None where it left none (it was killed)."""
    try:
        result = json.loads((job.path / "result.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        return {"status": "failed", "error": f"The result of {job} cannot be read: {exc}.", "advice": "Resume to run it again."}
    return result if isinstance(result, dict) else {"status": "failed", "error": f"The result of {job} is no result."}


def log_tail(job: Job, lines: int = 15) -> str:
    """The last lines that the process printed."""
    try:
        with (job.path / "log.txt").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 8000))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
