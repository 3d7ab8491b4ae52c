"""The demo's people: one admin, two researchers, three experts who form a panel."""

from __future__ import annotations

import secrets

from django.contrib.auth.models import Group, User
from django.db import transaction

from annotation.models import Expert
from annotation.roles import EXPERT, RESEARCHER

PEOPLE = {
    "admin": None,
    "researcher1": RESEARCHER,
    "researcher2": RESEARCHER,
    "expert1": EXPERT,
    "expert2": EXPERT,
    "expert3": EXPERT,
}
PANEL = "panel"


@transaction.atomic
def make_people() -> dict[str, str]:
    """Make those who are missing. Returns their passwords by name: the only time that they are known."""
    passwords = {}
    for name, role in PEOPLE.items():
        if User.objects.filter(username=name).exists():
            continue
        passwords[name] = secrets.token_urlsafe(9)
        user = User.objects.create_user(name, password=passwords[name], is_superuser=role is None, is_staff=role is None)
        if role:
            user.groups.add(Group.objects.get_or_create(name=role)[0])
    return passwords


def make_panel() -> Expert:
    """The expert that is people: the demo's three."""
    panel, made = Expert.objects.get_or_create(alias=PANEL, defaults={"name": "Panel of three", "kind": Expert.Kind.HUMAN})
    if made:
        panel.members.set(User.objects.filter(groups__name=EXPERT, username__in=PEOPLE))
    return panel
