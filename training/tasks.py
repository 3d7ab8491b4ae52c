"""What Celery carries: ids. Each task may run twice, late or never; the sweep finds what was dropped."""

from __future__ import annotations

import logging

from celery import shared_task
from django.conf import settings

from training import follow, runner
from training.jobs import is_unattended
from training.models import Experiment, Job, Suite
from training.suite.actions import start_next

log = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def advance(experiment_id: int) -> None:
    """Carry on with an experiment as far as it goes without waiting."""
    runner.advance(experiment_id)


@shared_task(ignore_result=True)  # on the queue "training" (settings.CELERY_TASK_ROUTES)
def run_job(job_id: int) -> None:
    """Follow a job to its end, unless somebody does already."""
    follow.run(job_id)


@shared_task(ignore_result=True)
def sweep() -> None:
    """Queue again the jobs that nobody looks after, start what suites have next, and advance every experiment that is not waiting for a decision."""
    queued = Job.objects.filter(state=Job.State.QUEUED, experiment__state__in=Experiment.ACTIVE)
    unattended = [job for job in Job.objects.filter(state=Job.State.RUNNING) if is_unattended(job)]
    for job in [*queued, *unattended]:
        run_job.apply_async(args=[job.pk], expires=60)  # the next sweep sends another: a queue must not fill up with them
    for suite in Suite.objects.filter(running=True):
        start_next(suite, settings.TRAINING_SLOTS)
    for experiment_id in Experiment.objects.filter(state__in=Experiment.ACTIVE).values_list("pk", flat=True):
        advance.delay(experiment_id)
