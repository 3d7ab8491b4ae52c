"""Batches at an expert's provider: they outlive the worker that made them, so they are kept with ours. One worker at a time sees to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from annotation import events
from annotation.actions import audit
from annotation.actions.budgets import Most
from annotation.actions.claims import WITH_ALL, claim_next, release_many
from annotation.errors import NothingToDo
from annotation.models import Batch, Claim, Outage

ALL = 1_000_000  # items of a batch, and more


def attend_provider(batch: Batch, now: datetime | None = None) -> bool:
    """Whether the caller sees to the batch from now on, alone, for as long as a lease. `batch` then has what the provider has of it."""
    now = now or timezone.now()
    free = Batch.objects.filter(Q(provider_look=None) | Q(provider_look__lte=now), pk=batch.pk, closed=None)
    if not free.update(provider_look=now + timedelta(seconds=batch.lease_seconds)):
        return False
    batch.refresh_from_db(fields=["provider_batches", "provider_look"])
    return True


def take_all(batch: Batch, *, most: Most | None = None, now: datetime | None = None) -> list[Claim]:
    """All that the batch's program holds of it, with the lease renewed, and all that is ready and can be paid, by position. For who attends it."""
    now = now or timezone.now()
    with transaction.atomic():
        held = _renew(batch, now + timedelta(seconds=batch.lease_seconds))
    new = claim_next(expert=batch.expert, batch=batch, limit=ALL, related=(), most=most, now=now)
    claims = Claim.objects.filter(pk__in=[*held, *(claim.pk for claim in new)]).select_related(*WITH_ALL)
    return list(claims.order_by("item__position"))


def _renew(batch: Batch, expires: datetime) -> list[int]:
    """Lease what the batch's program holds of it until then; the ids of the claims."""
    mine = (
        Claim.objects.filter(item__batch=batch, item__expert=batch.expert, user=None, ended=None)
        .order_by("pk")
        .select_for_update(of=("self",), no_key=True)
    )
    held = list(mine.values_list("pk", flat=True))
    Claim.objects.filter(pk__in=held).update(expires=expires)
    return held


def keep_provider_batches(batch: Batch, state: Mapping[str, Any], now: datetime | None = None) -> None:
    """Write down what the provider has; whoever attends the batch goes on doing so."""
    now = now or timezone.now()
    with transaction.atomic():
        before = Batch.objects.select_for_update(no_key=True).only("provider_batches").get(pk=batch.pk).provider_batches
        look = now + timedelta(seconds=batch.lease_seconds)
        Batch.objects.filter(pk=batch.pk).update(provider_batches=state, provider_look=look)
        if new := [name for name in provider_ids(state) if name not in provider_ids(before)]:
            audit.record(None, "sent in a batch", batch, provider=new, experiment=batch.experiment)


def wait_for_provider(batch: Batch, seconds: float, now: datetime | None = None) -> None:
    """The provider is looked at again after so many seconds; until then, and a lease longer, what is held stays leased."""
    look = (now or timezone.now()) + timedelta(seconds=seconds)
    with transaction.atomic():
        _renew(batch, look + timedelta(seconds=batch.lease_seconds))
        Batch.objects.filter(pk=batch.pk).update(provider_look=look)
        events.batch_touched(batch.pk, batch.experiment)


def leave_provider(batch: Batch, *, done: bool) -> None:
    """The caller attends the batch no longer. `done`: nothing is to come from the provider."""
    Batch.objects.filter(pk=batch.pk).update(provider_look=None, **({"provider_batches": {}} if done else {}))


def forget_provider_batches(batch: Batch, *, actor: Any = None, reason: str = "") -> list[str]:
    """Ask anew what the provider has not answered; the ids that are forgotten. Raises `NothingToDo` where it has nothing."""
    with transaction.atomic():
        tokens = Claim.objects.filter(item__batch=batch, user=None, ended=None).values_list("token", flat=True)
        release_many(list(tokens), actor=actor, reason=reason)
        row = Batch.objects.select_for_update(no_key=True).only("provider_batches").get(pk=batch.pk)
        if not row.provider_batches:
            raise NothingToDo("The provider has nothing of this batch.")
        Batch.objects.filter(pk=batch.pk).update(provider_batches={}, provider_look=None)
        Outage.objects.filter(batch=batch).delete()
        ids = provider_ids(row.provider_batches)
        audit.record(actor, "forgot the provider's batches", batch, provider=ids, reason=reason, experiment=batch.experiment)
    return ids


def provider_ids(state: Mapping[str, Any]) -> list[str]:
    """The ids of the provider's batches in the state of a `BatchHandle`."""
    return [*state.get("ids", ()), *(name for part in state.get("parts", {}).values() for name in provider_ids(part))]
