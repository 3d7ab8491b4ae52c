"""Domains: made, edited, and loaded from those that come with Touchstone."""

from __future__ import annotations

import json
from typing import Any

from django.db import transaction

from annotation import readers, ready, validation
from annotation.actions import audit
from annotation.actions.importing import ImportReport, import_prompts
from annotation.errors import InvalidDomain
from annotation.models import Domain
from annotation.text import storable

WORDS = ("name", "description", "generation_prompt", "grading_prompt", "rubric_prompt", "context_prompt", "guidelines")
FORMAT = ("content_tag", "critique_tag", "deliberation_tag", "score_tag", "score_min", "score_max", "score_required", "score_anchors")


def save_domain(domain: Domain, *, actor: Any) -> Domain:
    """Keep `domain` as it stands now, new or edited. What stood there before goes into the audit log: verdicts name what they were given
    under by its digest.

    Prompts keep the text that they were made with, and experiments the words that they started with. Raises `InvalidDomain`.
    """
    for name in WORDS:
        # Browsers send CR LF from text areas; a prompt's digest must not depend on where it was typed.
        setattr(domain, name, storable(getattr(domain, name)).replace("\r\n", "\n"))
    domain.score_anchors = storable(domain.score_anchors)
    if errors := validation.domain_problems(domain):
        raise InvalidDomain(errors)
    with transaction.atomic():
        old = Domain.objects.select_for_update(no_key=True).filter(pk=domain.pk).first() if domain.pk else None
        names = ("slug", *WORDS, *FORMAT)
        before = {name: getattr(old, name) for name in names if old and getattr(old, name) != getattr(domain, name)}
        if old is None or before:
            domain.save()
            audit.record(actor, "edited" if old else "made", domain, before=before)
    return domain


def load_ready(name: str, *, actor: Any = None) -> tuple[Domain, ImportReport]:
    """The domain `name` that comes with Touchstone, with its prompts. What is there already stays as it is, edited or not.

    Raises `KeyError` where there is none of that name (`annotation.ready.names` lists them).
    """
    found = ready.read(name)
    with transaction.atomic():
        domain, new = Domain.objects.get_or_create(slug=found.slug, defaults=found.fields)
        if new:
            audit.record(actor, "made", domain, ready=found.slug)
        # By variables, not by text: where the generation prompt was edited since, the same topic must not come in a second time.
        there = {_key(variables) for variables in domain.prompts.values_list("variables", flat=True).iterator()}
        rows = [row for row in readers.rows(found.prompts) if row.values is None or _key(row.values["variables"]) not in there]
        report = import_prompts(domain, None, rows, actor=actor)
    return domain, report


def _key(variables: Any) -> str:
    return json.dumps(variables, sort_keys=True)
