from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from annotation.models import Domain, Expert
from tests.annotation import makers

JUDGES = {"fair": "FairJudge", "overloaded": "OverloadedJudge", "locked-out": "LockedOutJudge", "squeamish": "SqueamishJudge"}
JUDGES |= {"mumbling": "MumblingJudge", "short": "ShortJudge", "broken-off": "BrokenOffJudge", "dicing": "DicingJudge"}


@pytest.fixture(autouse=True)
def experts(settings) -> None:
    settings.EXPERTS = {name: {"BACKEND": f"tests.annotation.makers.{judge}", "OPTIONS": {}} for name, judge in JUDGES.items()} | settings.EXPERTS


@pytest.fixture
def domain(db) -> Domain:
    return makers.make_domain()


@pytest.fixture
def alice(db) -> User:
    return makers.make_user("alice")


@pytest.fixture
def bob(db) -> User:
    return makers.make_user("bob")


@pytest.fixture
def carol(db) -> User:
    """The outsider: signed in, and on no panel."""
    return makers.make_user("carol")


@pytest.fixture
def panel(alice: User, bob: User) -> Expert:
    return makers.make_panel(alice, bob)
