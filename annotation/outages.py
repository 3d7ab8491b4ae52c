"""What to tell people about an expert that does not answer."""

from __future__ import annotations

from datetime import UTC, datetime

from django.utils import timezone

from annotation import querysets
from annotation.models import Batch
from annotation.routing import seen_by


def words(batch: Batch, now: datetime | None = None) -> str:
    """Since when the batch's experts have not answered, why, and when they are tried again; "" while they do, or nothing is asked any more."""
    now = now or timezone.now()
    if batch.closed is not None:
        return ""
    return " ".join(filter(None, (_words(seen_by(batch, expert), now) for expert in batch.experts.all())))


def _words(batch: Batch, now: datetime) -> str:
    row = querysets.outages(batch).first()
    if row is None:
        return ""
    name = batch.expert.name
    happened = f"{name} {'has not answered' if row.batch_id is None else 'cannot answer this batch'} since {_time(row.since, now)} UTC ({row.error})"
    if row.not_before > now:
        return f"{happened}; it is tried again at {_time(row.not_before, now)}."
    return f"{happened}; it is being tried again now."


def _time(at: datetime, now: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at:%H:%M}" if at.date() == now.astimezone(UTC).date() else f"{at:%Y-%m-%d %H:%M}"
