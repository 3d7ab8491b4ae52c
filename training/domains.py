"""Domains that come with Touchstone, and how they get into the database."""

from __future__ import annotations

from typing import Any

from annotation.actions import import_prompts
from annotation.models import Domain, Expert, Prompt
from training.pocket.language import prompts
from training.pocket.prompts import DOMAIN

POCKET_EXPERT = "pocket"


def load_pocket(*, actor: Any = None) -> tuple[Domain, Expert]:
    """The pocket stories with their 650 prompts, and the program that judges them. What is there already stays as it is."""
    fields = {name: getattr(DOMAIN, name) for name in DOMAIN.__dataclass_fields__ if name != "slug"}
    domain, made = Domain.objects.get_or_create(slug=DOMAIN.slug, defaults=fields)
    added = {name: fields[name] for name in ("rubric_prompt", "context_prompt") if not getattr(domain, name)}
    if added and not made:  # by an earlier version, which did not know these
        Domain.objects.filter(pk=domain.pk).update(**added)
        domain.refresh_from_db()
    for split in Prompt.Split:
        rows = [{"variables": {"OBJECT": prompt.object, "PLACE": prompt.place}} for prompt in prompts() if prompt.split == split]
        import_prompts(domain, split, rows, actor=actor)
    expert, _ = Expert.objects.get_or_create(
        alias=POCKET_EXPERT, defaults={"name": "Pocket critic (a program)", "kind": Expert.Kind.PROGRAM, "backend": "pocket"}
    )
    return domain, expert
