"""What the page tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from tests.web import scenery


@pytest.fixture
def scene(db) -> scenery.Scenery:
    return scenery.build()


@pytest.fixture
def signed_in(scene) -> Callable[[str | None], Client]:
    """`signed_in(name)`: a client that is signed in as one of the scenery's people; None: nobody."""

    def client(name: str | None) -> Client:
        made = Client()
        if name:
            made.force_login(scene.people[name], backend="django.contrib.auth.backends.ModelBackend")
        return made

    return client
