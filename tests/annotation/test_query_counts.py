"""How many statements a claim and a submit take, all told. BEGIN, COMMIT and savepoints are not counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from annotation import actions, roles, tokens
from annotation.models import Claim
from tests.annotation.makers import WORDS, make_batch, make_domain, make_panel, make_user

# Committed for real: what runs after the commit counts too.
pytestmark = pytest.mark.django_db(transaction=True)
FREE = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE SAVEPOINT")
SPANS = [{"start": 0, "end": 5, "quote": "Story", "sign": "+"}]


@pytest.fixture
def alice():
    user = make_user("alice")
    Group.objects.get_or_create(name=roles.EXPERT)[0].user_set.add(user)
    return user


@pytest.fixture
def batch(alice):
    return make_batch(make_panel(alice, make_user("bob")), make_domain(), 40)


@pytest.fixture
def tool(alice) -> Client:
    return Client(headers={"authorization": f"Bearer {tokens.make_token(alice)}"})


@pytest.fixture
def browser(alice) -> Client:
    client = Client()
    client.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    return client


def statements(act: Any) -> tuple[int, Any]:
    with CaptureQueriesContext(connection) as seen:
        answer = act()
    return sum(not query["sql"].startswith(FREE) for query in seen.captured_queries), answer


def post(client: Client, path: str, data: Any) -> tuple[int, Any]:
    return statements(lambda: client.post(f"/api/v1/{path}", json.dumps(data), content_type="application/json"))


def test_a_claim_over_the_api_takes_at_most_8(tool, batch):
    counted, answer = post(tool, "claims/", {})
    assert (counted, answer.status_code) == (4, 201)
    counted, answer = post(tool, "claims/", {"batch": batch.pk})  # the one in hand again
    assert answer.status_code == 200
    assert counted <= 8


def test_a_claim_of_a_given_batch_takes_at_most_8(tool, batch):
    counted, answer = post(tool, "claims/", {"batch": batch.pk})
    assert (counted, answer.status_code) == (5, 201)


def test_a_submit_over_the_api_takes_at_most_10(tool, batch, alice):
    token = post(tool, "claims/", {})[1].json()["token"]
    counted, answer = post(tool, f"claims/{token}/submit/", {"key": "a", "critique": WORDS, "score": 5})
    assert (counted <= 9, answer.status_code) == (True, 201)  # one less where the experiment was told of a verdict just now
    token = post(tool, "claims/", {})[1].json()["token"]
    actions.save_draft(token, user=alice, critique=WORDS)
    counted, answer = post(tool, f"claims/{token}/submit/", {"key": "b", "critique": WORDS, "score": 5})
    assert (counted <= 9, answer.status_code) == (True, 201)  # one less where the experiment was told of a verdict just now
    assert not alice.drafts.exists()


def test_highlights_take_one_statement_more_however_many_there_are(tool, batch):
    token = post(tool, "claims/", {})[1].json()["token"]
    counted, answer = post(tool, f"claims/{token}/submit/", {"key": "a", "critique": WORDS, "score": 5, "spans": SPANS * 9})
    assert (counted <= 10, answer.status_code) == (True, 201)


def test_a_long_queue_takes_no_more(tool, batch, alice):
    for _ in range(3):
        (claim,) = actions.claim_next(user=alice)
        actions.submit_feedback(claim.token, key=str(claim.token), critique=WORDS, score=5, user=alice)
    for _ in range(20):
        make_batch(batch.expert, batch.domain, 3, priority=-1)
    assert post(tool, "claims/", {})[0] == 4


def test_what_the_pages_take(browser, batch):
    """Kept low so that nobody waits: a page is a claim, a text, its counts and one's own history."""
    counted, answer = statements(lambda: browser.post("/review/start/", {"batch": batch.pk}))
    assert counted <= 9
    address = answer["Location"]
    counted, answer = statements(lambda: browser.get(address))
    assert answer.status_code == 200
    assert counted <= 16
    counted, answer = statements(lambda: browser.post(address, {"key": "a", "critique": WORDS, "score": "5"}))
    assert (answer.status_code, Claim.objects.filter(outcome="submitted").count()) == (302, 1)
    assert counted <= 18
