"""Who did what to which object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import models

from annotation.models import AuditEntry, Batch, Item
from annotation.text import storable


def entry(actor: Any, verb: str, target: models.Model, **data: Any) -> AuditEntry:
    """An entry, not saved yet; its target is the object's kind and key, as in item:12. `actor` is a user, or None for a program."""
    return AuditEntry(actor=actor, verb=verb, target=f"{target._meta.model_name}:{target.pk}", data=storable(data))


def record(actor: Any, verb: str, target: models.Model, **data: Any) -> None:
    entry(actor, verb, target, **data).save()


def record_all(entries: Iterable[AuditEntry]) -> None:
    AuditEntry.objects.bulk_create(entries, batch_size=1000)


def where(item: Item, batch: Batch | None = None) -> dict[str, Any]:
    """What an entry about an item also says: where it belongs."""
    batch = batch or item.batch
    return {"batch": batch.pk, "rollout": item.rollout_id, "experiment": batch.experiment}
