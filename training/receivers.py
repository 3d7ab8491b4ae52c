"""What the queue tells and asks: when the last verdict of a batch is in, its experiment goes on."""

from __future__ import annotations

import time
from typing import Any

from django.dispatch import receiver

from annotation.models import Batch, Expert
from annotation.signals import batch_changed, experiments_named
from training import asking, dispatch
from training.models import Experiment

PAUSE = 2.0  # seconds between two messages while people answer: one for each verdict costs as much as storing it
MOST_TOLD = 1000
_told: dict[int, float] = {}  # when a batch was last told of


@receiver(batch_changed, dispatch_uid="training.advance_when_answered")
def advance_when_answered(sender: Any, batch_id: int, closed: bool, **kwargs: Any) -> None:
    """Only a batch that is complete moves an experiment; while people answer, its note is brought up to date, now and then."""
    now = time.monotonic()
    if not closed and now < _told.get(batch_id, 0.0) + PAUSE:
        return  # the sweep brings the note up to date after the last of them
    _told[batch_id] = now
    if len(_told) > MOST_TOLD:
        _told.clear()
    from training import tasks

    batch = Batch.objects.select_related("expert").get(pk=batch_id)
    if not batch.experiment or batch.purpose == Batch.Purpose.REWARD:
        return
    if batch.expert.kind in Expert.ALONE and asking.outstanding(batch):
        return
    for experiment in Experiment.objects.filter(name=batch.experiment, state__in=Experiment.ACTIVE):
        dispatch.send(tasks.advance, experiment.pk)


@receiver(experiments_named, dispatch_uid="training.names_of_experiments")
def names_of_experiments(sender: Any, **kwargs: Any) -> list[str]:
    return list(Experiment.objects.values_list("name", flat=True))
