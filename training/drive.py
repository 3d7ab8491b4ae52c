"""Running an experiment in this process alone: the work of the Celery workers, found from the rows. Safe beside workers."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connection
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from annotation.models import Batch, Expert, Item
from annotation.tasks import answer_batch
from grading.errors import ConfigurationError, GraderError
from training import dispatch, follow, runner
from training.models import Experiment, Job

IDLE_SECONDS = 1.0  # between looks while somebody else works


def drive(experiment_id: int, watch: Callable[[Experiment, Job | None], None] = lambda experiment, job: None) -> Experiment:
    """Carry the experiment on until it ends, or waits for a person's decision (paused, failed). Returns its row.

    `watch` is called with the experiment, and with the job at work, whenever either may have moved.
    """
    with dispatch.inline():
        while True:
            try:
                runner.advance(experiment_id)
                experiment = Experiment.objects.select_related("expert", "domain").get(pk=experiment_id)
                watch(experiment, None)
                if experiment.state not in Experiment.ACTIVE:
                    return experiment
                if not _work(experiment, watch):
                    time.sleep(IDLE_SECONDS)
            except (OperationalError, InterfaceError):
                connection.close()
                time.sleep(IDLE_SECONDS)
                connection.ensure_connection()  # away for longer: say so


def _work(experiment: Experiment, watch: Callable[[Experiment, Job | None], None]) -> bool:
    """Do what there is to do for the experiment's open stage. False where it is in other hands."""
    job = experiment.jobs.filter(state__in=[Job.State.QUEUED, Job.State.RUNNING]).first()
    if job is not None:
        watch(experiment, job)
        return follow.run(job.pk, lambda row: watch(experiment, row))
    ready = Item.objects.filter(batch=OuterRef("pk"), state=Item.State.READY, expert__kind__in=Expert.ALONE)
    open_batches = Batch.objects.filter(Exists(ready) | Q(provider_look__lte=timezone.now()), experiment=experiment.name, closed=None)
    return any(_answer(experiment, batch) for batch in open_batches)


def _answer(experiment: Experiment, batch: Batch) -> bool:
    """Have the program or language model answer; wait where it asks for time, fail the experiment where asking again is no use.

    False where there was nothing to do: it rests, or others see to it.
    """
    try:
        return bool(answer_batch(batch.pk))
    except GraderError as exc:
        if exc.retry.allowed:
            time.sleep(max(exc.retry.after_seconds, IDLE_SECONDS))
        else:
            runner.fail(experiment.pk, f"{experiment.expert.name} did not answer: {exc}. Mend it, then resume.")
    except ConfigurationError as exc:
        runner.fail(experiment.pk, f"{experiment.expert.name} is set up wrongly: {exc}. Mend it, then resume.")
    return True
