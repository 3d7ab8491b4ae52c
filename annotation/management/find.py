"""What a command's user names, as rows, or a plain error."""

from __future__ import annotations

from typing import TypeVar

from django.core.management.base import CommandError
from django.db.models import Model

from annotation.models import Batch, Domain, Expert

M = TypeVar("M", bound=Model)


def find_domain(slug: str) -> Domain:
    return _find(Domain, "slug", slug)


def find_expert(alias: str) -> Expert:
    return _find(Expert, "alias", alias)


def find_batch(which: str) -> Batch:
    """The batch with this key or number."""
    batch = Batch.objects.filter(key=which).first() or (Batch.objects.filter(pk=which).first() if which.isdecimal() else None)
    if batch is None:
        raise CommandError(f"There is no batch {which}.")
    return batch


def _find(model: type[M], key: str, value: str) -> M:
    rows = model._default_manager
    found = rows.filter(**{key: value}).first()
    if found is None:
        known = ", ".join(rows.values_list(key, flat=True)) or "none"
        raise CommandError(f"There is no {model._meta.verbose_name} {value}; there are: {known}.")
    return found
