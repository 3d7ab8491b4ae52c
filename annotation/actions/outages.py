"""Experts that do not answer: they rest, longer each time, and one task finds out whether they are back."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from annotation import events, querysets
from annotation.actions import audit
from annotation.models import Batch, Outage
from annotation.text import storable
from grading.errors import GraderError
from grading.secrecy import hiding, hush

logger = logging.getLogger(__name__)

FAILED = "expert failed"
SEVERAL = 3  # failures in a row from which on the expert rests longer each time, and one task tries alone
FIRST, LONGEST = 30.0, 900.0  # seconds
LONG = 600.0  # seconds after a failure that trying again does not mend
ERROR_LENGTH = 300


def may_ask(batch: Batch, now: datetime | None = None) -> int | None:
    """How many items the batch's expert may be asked about at first: 0 is any number, None says that it rests.

    After several failures one task gets 1 and the others wait, until it has said what came of it (`expert_answered`, `expert_failed`,
    `probe_over`), or for as long as a lease.
    """
    now = now or timezone.now()
    rows = list(querysets.outages(batch))
    if any(row.not_before > now for row in rows):
        return None
    trying = next((row for row in rows if row.batch_id is None and row.failures >= SEVERAL), None)
    if trying is None:
        return 0
    free = Outage.objects.filter(Q(probe_until=None) | Q(probe_until__lte=now), pk=trying.pk, not_before__lte=now)
    return 1 if free.update(probe_until=now + timedelta(seconds=batch.lease_seconds)) else None


def expert_failed(batch: Batch, exc: Exception, *, began: datetime, now: datetime | None = None) -> float:
    """The expert did not answer a call that began then. Seconds for which it rests.

    With all its batches where trying again helps, else with this one alone. What failed beside something else at the same time counts once.
    """
    now = now or timezone.now()
    hush(exc, hiding(settings.EXPERTS, batch.expert.options))  # whoever gets it next writes it down too
    passing = isinstance(exc, GraderError) and exc.retry.allowed
    error = storable(str(exc) if passing else f"{type(exc).__name__}: {exc}")
    with transaction.atomic():
        row, made = Outage.objects.select_for_update(no_key=True).get_or_create(
            expert=batch.expert,
            batch=None if passing else batch,
            defaults={"since": now, "last": now, "failures": 1, "not_before": now, "error": error[:ERROR_LENGTH]},
        )
        if not made and row.last <= began:
            row.failures += 1
        rest = exc.retry.after_seconds if isinstance(exc, GraderError) and passing else LONG
        if passing and row.failures >= SEVERAL:
            rest = max(rest, min(LONGEST, FIRST * 2.0 ** min(row.failures - SEVERAL, 10)))
        row.last, row.error, row.probe_until = now, error[:ERROR_LENGTH], None
        row.not_before = max(row.not_before, now + timedelta(seconds=rest))
        row.save()
        audit.record(
            None,
            FAILED,
            batch,
            error=f"{type(exc).__name__}: {exc}",
            failures=row.failures,
            not_before=row.not_before.isoformat(),
            experiment=batch.experiment,
        )
        events.batch_touched(batch.pk, batch.experiment)
    logger.warning("%s could not answer batch %s: %s", batch.expert.alias, batch.pk, exc)
    return (row.not_before - now).total_seconds()


def expert_answered(batch: Batch) -> None:
    """The batch's expert answers: it rests no longer."""
    gone = list(querysets.outages(batch))
    if not gone:
        return
    with transaction.atomic():
        Outage.objects.filter(pk__in=[row.pk for row in gone]).delete()
        audit.record(None, "expert answers again", batch, since=min(row.since for row in gone).isoformat(), experiment=batch.experiment)
        events.batch_touched(batch.pk, batch.experiment)


def probe_over(batch: Batch) -> None:
    """Who was to try had nothing to ask: another may."""
    Outage.objects.filter(expert=batch.expert_id, batch=None).update(probe_until=None)


def ask_again(experiment: str, now: datetime | None = None) -> None:
    """A person says that what kept the experts of an experiment from answering is mended: they rest no longer."""
    waiting = Batch.objects.filter(experiment=experiment, closed=None)
    Outage.objects.filter(batch__in=waiting).delete()
    Outage.objects.filter(batch=None, expert__in=waiting.values("expert")).update(not_before=now or timezone.now(), probe_until=None)
