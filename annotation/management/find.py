"""What a command's user names, as rows, or a plain error."""

from __future__ import annotations

from django.core.management.base import CommandError

from annotation.models import Batch, Domain, Expert


def find_domain(slug: str) -> Domain:
    try:
        return Domain.objects.get(slug=slug)
    except Domain.DoesNotExist as exc:
        known = ", ".join(Domain.objects.values_list("slug", flat=True)) or "none"
        raise CommandError(f"There is no domain {slug}; there are: {known}.") from exc


def find_batch(which: str) -> Batch:
    """The batch with this key or number."""
    batch = Batch.objects.filter(key=which).first() or (Batch.objects.filter(pk=which).first() if which.isdecimal() else None)
    if batch is None:
        raise CommandError(f"There is no batch {which}.")
    return batch


def find_expert(alias: str) -> Expert:
    try:
        return Expert.objects.get(alias=alias)
    except Expert.DoesNotExist as exc:
        known = ", ".join(Expert.objects.values_list("alias", flat=True)) or "none"
        raise CommandError(f"There is no expert {alias}; there are: {known}.") from exc
