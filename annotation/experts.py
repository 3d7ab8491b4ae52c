"""Which program answers for an expert: settings.EXPERTS plus the expert's own options.

EXPERTS = {"pocket": {"BACKEND": "training.pocket.expert.PocketExpert", "OPTIONS": {"noise": True}}}
"""

from __future__ import annotations

from typing import Any

from django.conf import settings

from annotation.models import Expert
from grading import backends
from grading.errors import ConfigurationError
from grading.secrecy import without_secrets
from grading.types import Judge


def judge_config(expert: Expert) -> dict[str, Any]:
    """`{"backend": dotted path, "options": {...}}`, as `grading.backends.load` takes it; the expert's options override the settings'.

    Raises `ConfigurationError` for people, and for a backend that is not in settings.EXPERTS.
    """
    if expert.kind == Expert.Kind.HUMAN:
        raise ConfigurationError(f"{expert.name} are people: their verdicts come through the review page, not from a program")
    entry = _entry(expert)
    if entry is None:
        known = ", ".join(sorted(settings.EXPERTS)) or "none"
        raise ConfigurationError(f"the expert {expert.alias} uses {expert.backend!r}, which is not in settings.EXPERTS (there: {known})")
    return {"backend": entry["BACKEND"], "options": {**entry.get("OPTIONS", {}), **expert.options}}


def load_judge(expert: Expert) -> Judge:
    """The judge that answers for this expert. Raises `ConfigurationError` naming what is set up wrongly."""
    judge: Judge = backends.load(judge_config(expert))
    return judge


def snapshot(expert: Expert) -> dict[str, Any]:
    """What is kept with each verdict about how it came to be: kind, backend and options, without anything secret.

    Never raises: what a backend was called is worth keeping even when the settings have moved on.
    """
    if expert.kind == Expert.Kind.HUMAN:
        return {"kind": "human"}
    entry = _entry(expert) or {}
    options = without_secrets({**entry.get("OPTIONS", {}), **expert.options})
    return {"kind": expert.kind, "name": expert.backend, "backend": entry.get("BACKEND", ""), "options": options}


def _entry(expert: Expert) -> dict[str, Any] | None:
    entries: dict[str, dict[str, Any]] = settings.EXPERTS
    return entries.get(expert.backend)
