"""Following a job: start its process or find it again, read its files until it ends, and say how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from annotation.events import announce
from training import dispatch, jobs, processes
from training.errors import StageFailed
from training.ingest import NotMine, ingest, mine
from training.models import Experiment, Job
from training.warm import Running

log = logging.getLogger(__name__)
POLL_SECONDS = 0.5
DATABASE_PATIENCE = 300.0  # seconds without a database before the follower gives up; the process goes on meanwhile


def run(job_id: int, watch: Callable[[Job], None] | None = None) -> bool:
    """Follow the job to its end. False where somebody else follows it already. `watch` is called with the job at every look."""
    follower = processes.new_name()
    if not jobs.claim(job_id, follower):
        return False
    return Follower(job_id, follower, watch).run()


class Follower:
    """One process's look after one job. It may die at any moment: the next one goes on from the offsets in the row."""

    def __init__(self, job_id: int, follower: str, watch: Callable[[Job], None] | None = None) -> None:
        self.job_id, self.follower, self.watch = job_id, follower, watch
        self.process: Running | None = None
        self.announced = 0.0

    def run(self) -> bool:
        failing_since: float | None = None
        try:
            while True:
                try:
                    if self.look():
                        return True
                    failing_since = None
                except (OperationalError, InterfaceError) as exc:
                    # The process does not need the database; go on when it is back.
                    failing_since = failing_since or time.monotonic()
                    if connection.in_atomic_block or time.monotonic() - failing_since > DATABASE_PATIENCE:
                        raise
                    log.warning("the database is away (%s); trying again", exc)
                    connection.close()
                time.sleep(POLL_SECONDS)
        except NotMine:
            return False
        except BaseException:
            # Leave it to whoever comes next, without making them wait until we are stale.
            Job.objects.filter(pk=self.job_id, follower=self.follower).update(heartbeat=None)
            raise

    def look(self) -> bool:
        """One look: start what is to be started, read what is there. True when the job has ended."""
        job = Job.objects.select_related("experiment").get(pk=self.job_id)
        if self.watch is not None:
            self.watch(job)
        wanted = job.experiment.state in Experiment.ACTIVE
        alive = self.alive(job)  # asked before reading: after its death nothing more is written
        try:
            while ingest(self.job_id, self.follower):
                self.tell()
            if not alive:
                return self.ended(job, wanted)
        except StageFailed as exc:
            self.settle(Job.State.FAILED, error=exc.note)
            return True
        if not wanted and not (job.path / "stop").exists():
            (job.path / "stop").touch()
        return False

    def alive(self, job: Job) -> bool:
        if self.process is None:
            return jobs.is_alive(job)
        code = self.process.poll()
        return code is None or (code == jobs.SOMEBODY_ELSE and jobs.is_locked(job))

    def ended(self, job: Job, wanted: bool) -> bool:
        """No process works on the job: it is finished, or starts (again). True when it has ended."""
        result = jobs.read_result(job)
        status = result.get("status") if result else None
        if status == "done":
            self.settle(Job.State.DONE, result=result)
        elif status == "failed":
            assert result is not None
            self.settle(Job.State.FAILED, result=result, error=f"{result.get('error', '')} {result.get('advice', '')}".strip())
        elif not wanted:
            self.settle(Job.State.STOPPED, result=result)
        elif status is None and job.attempts >= jobs.MAX_ATTEMPTS:
            tail = jobs.log_tail(job)
            self.settle(
                Job.State.FAILED,
                error=f"The process of {job} ended {job.attempts} times without a result. Resume to try again. Its last words:\n{tail}".strip(),
            )
        else:
            self.launch(attempt=status is None)
            return False
        return True

    def launch(self, *, attempt: bool) -> None:
        jobs.warm_up()  # not under a lock
        somebody_else = self.process is not None and self.process.returncode == jobs.SOMEBODY_ELSE
        with transaction.atomic():
            job = mine(self.job_id, self.follower)
            try:
                self.process = jobs.launch(job)
            except OSError as exc:
                raise StageFailed(f"{job} cannot be started: {exc}.", "See that its folder is there and resume.") from exc
            job.pid = self.process.pid
            job.attempts += int(attempt and not somebody_else)
            job.save(update_fields=["pid", "attempts"])

    def settle(self, state: str, *, result: dict | None = None, error: str = "") -> None:
        """Write how it ended, and let the experiment go on."""
        from training import tasks

        with transaction.atomic():
            job = mine(self.job_id, self.follower)
            job.state, job.result, job.error, job.ended, job.pid = state, result or {}, error, timezone.now(), None
            job.save()
            dispatch.send(tasks.advance, job.experiment_id)
        self.tell(now=True)

    def tell(self, *, now: bool = False) -> None:
        """Tell those who watch how far it is, twice a second at most."""
        if not now and time.monotonic() - self.announced < 0.5:
            return
        self.announced = time.monotonic()
        job = Job.objects.select_related("experiment").get(pk=self.job_id)
        announce(f"experiment.{job.experiment.name}", {"event": "job.progress", "job": job.key, "state": job.state, **job.progress})
