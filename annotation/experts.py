"""Which program answers for an expert: settings.EXPERTS plus the expert's own options.

EXPERTS = {"pocket": {"BACKEND": "training.pocket.expert.PocketExpert", "OPTIONS": {"noise": True}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from annotation import routing
from annotation.errors import InvalidSelection
from annotation.models import Expert
from grading import backends
from grading.errors import ConfigurationError
from grading.secrecy import without_secrets
from grading.types import Judge

ADDRESSES = ("new", "quality")  # of pages that are no expert's


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
    return {"backend": entry["BACKEND"], "options": options_of(expert)}


def options_of(expert: Expert) -> dict[str, Any]:
    """The options of settings.EXPERTS, with the expert's own in their place where it has any."""
    return {**(_entry(expert) or {}).get("OPTIONS", {}), **expert.options}


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
    options = without_secrets(options_of(expert))
    return {"kind": expert.kind, "name": expert.backend, "backend": entry.get("BACKEND", ""), "options": options}


def problems(wished: Mapping[str, Any], before: Expert | None) -> dict[str, str]:
    """What keeps `wished` (alias, kind, backend, options, active) from being an expert, by field; {} where nothing does.

    `before` is the one that it changes.
    """
    kind, backend, options = wished["kind"], wished["backend"], wished["options"]
    errors = {}
    if before is None and wished["alias"] in ADDRESSES:
        errors["alias"] = "That is the address of another page: choose another alias."
    elif before is not None and before.alias != wished["alias"]:
        errors["alias"] = "Rules and experiments name it by its alias, so that stays as it is."
    if before is not None and before.kind != kind and (before.batches.exists() or before.asked_in.exists()):
        errors["kind"] = "It has been asked already, and its verdicts are those of its kind. Make another expert."
    if kind in Expert.ALONE and backend not in settings.EXPERTS:
        errors["backend"] = f"Choose who answers: one of settings.EXPERTS ({', '.join(sorted(settings.EXPERTS)) or 'none there yet'})."
    elif kind not in Expert.ALONE and backend:
        errors["backend"] = "Only a program or a language model has a backend; leave it empty."
    idle = before is not None and before.options == options and not wished["active"]  # who is asked no more may have a rule that fits no more
    if not idle and (wrong := _options_problem(kind, options)):
        errors["options"] = wrong
    return errors


def _options_problem(kind: str, options: Any) -> str:
    if not isinstance(options, dict):
        return 'Options are an object such as {"noise": false}.'
    if without_secrets(options) != options:
        return "Options are kept with every verdict: put keys, tokens and passwords into the settings instead."
    if kind == Expert.Kind.HUMAN and options:
        return "People have no options."
    if kind == Expert.Kind.MIXED:
        try:
            routing.read(options)
        except InvalidSelection as exc:
            return str(exc)
    return ""


def _entry(expert: Expert) -> dict[str, Any] | None:
    entries: dict[str, dict[str, Any]] = settings.EXPERTS
    return entries.get(expert.backend)
