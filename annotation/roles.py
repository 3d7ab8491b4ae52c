"""Who may do what. An admin is a superuser; researchers and experts are groups; an admin counts as both."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

RESEARCHER = "researcher"
EXPERT = "expert"
GROUPS = (RESEARCHER, EXPERT)

Person = AbstractBaseUser | AnonymousUser


def is_admin(user: Person) -> bool:
    return bool(user.is_authenticated and user.is_active and getattr(user, "is_superuser", False))


def is_researcher(user: Person) -> bool:
    """May start experiments and see those shared with them."""
    return is_admin(user) or _in_group(user, RESEARCHER)


def is_expert(user: Person) -> bool:
    """May open the review pages. What is in the queue depends on the panels that the person is a member of."""
    return is_admin(user) or _in_group(user, EXPERT)


def make_groups(**kwargs: Any) -> None:
    """Make sure that the groups exist: runs after every migrate."""
    from django.contrib.auth.models import Group

    for name in GROUPS:
        Group.objects.using(kwargs.get("using", "default")).get_or_create(name=name)


def _in_group(user: Person, name: str) -> bool:
    if not user.is_authenticated or not user.is_active:
        return False
    known: set[str] | None = getattr(user, "_roles", None)  # one query per request, as Django does for permissions
    if known is None:
        known = set(user.groups.values_list("name", flat=True))  # type: ignore[attr-defined]
        setattr(user, "_roles", known)  # noqa: B010 (no such attribute as far as types know)
    return name in known
