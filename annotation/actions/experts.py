"""Who can be asked, and by what rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import transaction

from annotation.actions import audit
from annotation.errors import InvalidExpert
from annotation.experts import problems
from annotation.models import Expert
from grading.secrecy import without_secrets

FIELDS = ("alias", "name", "kind", "backend", "options", "price", "active")
PEOPLE = ("members", "users")


def save_expert(expert: Expert, *, members: Iterable[Any] | None = None, users: Iterable[Any] | None = None, actor: Any = None) -> Expert:
    """Make an expert, or change one; it holds from the next claim on, and verdicts keep the options that they were given under.

    `members` are whose queue it is and `users` who may use it; None leaves them as they are. What was before is in the audit log. Raises
    `InvalidExpert` (what is wrong, by field).
    """
    with transaction.atomic():
        before = Expert.objects.select_for_update(no_key=True).filter(pk=expert.pk).first() if expert.pk else None
        if errors := problems({name: getattr(expert, name) for name in FIELDS}, before):
            raise InvalidExpert(errors)
        changed = [name for name in FIELDS if before is None or getattr(before, name) != getattr(expert, name)]
        was = {name: getattr(before, name) for name in changed} if before is not None else {}
        now = {name: getattr(expert, name) for name in changed}
        expert.save()
        for name, people in (("members", members), ("users", users)):
            if people is None:
                continue
            there, wanted = _names(getattr(expert, name).all()), _names(people)
            if there != wanted:
                getattr(expert, name).set(people)
                was[name], now[name] = there, wanted
        if now:
            verb = "made" if before is None else "edited"
            audit.record(actor, verb, expert, before=without_secrets(was) if before is not None else None, to=without_secrets(now))
    return expert


def _names(people: Iterable[Any]) -> list[str]:
    return sorted(person.get_username() for person in people)
