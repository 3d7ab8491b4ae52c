from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User

from training.actions import visible_to

pytestmark = pytest.mark.django_db


def test_its_owner_and_members_and_admins_see_it_once_and_nobody_else(make, rosa, otto) -> None:
    experiment = make()
    member, admin = User.objects.create_user("mia"), User.objects.create_superuser("ada")
    experiment.members.add(member, rosa)
    assert [list(visible_to(user)) for user in (rosa, member, admin)] == [[experiment]] * 3
    assert [list(visible_to(user)) for user in (otto, AnonymousUser())] == [[], []]
