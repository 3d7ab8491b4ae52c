"""Checks of settings.EXPERTS at start-up."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

EXAMPLE = 'As in {"pocket": {"BACKEND": "training.pocket.expert.PocketExpert", "OPTIONS": {}}}.'


@register()
def check_experts(**kwargs: Any) -> list[CheckMessage]:
    """annotation.E001 to E004: every expert is a dotted path to a module that is there, with options as a dict."""
    experts = getattr(settings, "EXPERTS", None)
    if not isinstance(experts, dict):
        return [Error("settings.EXPERTS is not a dict.", hint=EXAMPLE, id="annotation.E001")]
    return [error for name, entry in experts.items() for error in _problems(name, entry)]


def _problems(name: str, entry: Any) -> list[CheckMessage]:
    path = entry.get("BACKEND") if isinstance(entry, dict) else None
    if not isinstance(path, str) or "." not in path:
        return [Error(f"settings.EXPERTS[{name!r}] has no BACKEND with a dotted path.", hint=EXAMPLE, id="annotation.E002")]
    errors: list[CheckMessage] = []
    if not _module_exists(path.rpartition(".")[0]):
        hint = f"Correct {path!r}, or install the package that it is in."
        errors.append(Error(f"settings.EXPERTS[{name!r}]: there is no module {path.rpartition('.')[0]}.", hint=hint, id="annotation.E003"))
    if not isinstance(entry.get("OPTIONS", {}), dict):
        errors.append(Error(f"settings.EXPERTS[{name!r}]: OPTIONS is not a dict.", hint=EXAMPLE, id="annotation.E004"))
    return errors


def _module_exists(module: str) -> bool:
    # Looked for, not imported: a judge may need torch, and the web process must not load it.
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


@register(Tags.database)
def check_rows(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """annotation.W001: an active expert whose backend is gone from the settings. Runs with `check --database default`."""
    from django.db import DatabaseError

    from annotation.models import Expert

    if not databases:
        return []
    try:
        rows = Expert.objects.filter(active=True).exclude(kind=Expert.Kind.HUMAN).exclude(backend__in=list(settings.EXPERTS))
        return [
            Warning(f"The expert {row.alias} uses {row.backend!r}, which is not in settings.EXPERTS.", hint=EXAMPLE, id="annotation.W001")
            for row in rows
        ]
    except DatabaseError:  # not migrated yet
        return []
