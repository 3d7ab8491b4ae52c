"""When the last verdict of a batch is in, its experiment goes on."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from annotation.models import Batch
from annotation.signals import batch_changed
from training import asking, dispatch
from training.models import Experiment


@receiver(batch_changed, dispatch_uid="training.advance_when_answered")
def advance_when_answered(sender: Any, batch_id: int, **kwargs: Any) -> None:
    """Only a batch that is complete moves an experiment; while people answer, its note is brought up to date."""
    from training import tasks

    batch = Batch.objects.select_related("expert").get(pk=batch_id)
    if not batch.experiment or batch.purpose == Batch.Purpose.REWARD:
        return
    if batch.expert.kind != "human" and asking.outstanding(batch):
        return
    for experiment in Experiment.objects.filter(name=batch.experiment, state__in=Experiment.ACTIVE):
        dispatch.send(tasks.advance, experiment.pk)
