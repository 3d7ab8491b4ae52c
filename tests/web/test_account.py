"""The account page: who one is, and the token that is seen once."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from rest_framework.authtoken.models import Token

from annotation.models import AuditEntry


def make(client: Client) -> str:
    """The secret on the page that follows."""
    page = client.post("/account/", {"do": "make"}).content.decode()
    found = re.search(r'id="secret" value="([\w-]{40,})"', page)
    assert found, page
    return found[1]


def queue(secret: str) -> int:
    return Client().get("/api/v1/queue/", headers={"authorization": f"Bearer {secret}"}).status_code


def test_it_says_who_one_is(signed_in):
    page = signed_in("edith").get("/account/").content.decode()
    assert all(words in page for words in ("edith", "Expert: reviews", "The panel", "Make a token"))
    assert "Researcher: runs experiments" in signed_in("rosalind").get("/account/").content.decode()
    assert "None yet. Ask an admin" in signed_in("olga").get("/account/").content.decode()
    assert "on no panel" in signed_in("ada").get("/account/").content.decode()


def test_a_token_is_shown_once_and_works(signed_in):
    client = signed_in("edith")
    secret = make(client)
    assert queue(secret) == 200
    page = client.get("/account/").content.decode()
    assert secret not in page
    assert "It cannot be shown again" in page


def test_the_database_does_not_hold_the_secret(signed_in):
    secret = make(signed_in("edith"))
    stored = Token.objects.get().key
    assert secret not in stored
    assert stored not in secret
    assert queue(stored) == 401  # who reads the table cannot use what stands there


def test_a_second_token_needs_the_first_to_be_revoked(signed_in):
    client = signed_in("edith")
    secret = make(client)
    page = client.post("/account/", {"do": "make"}).content.decode()
    assert "Revoke it first" in page
    assert 'id="secret"' not in page
    assert queue(secret) == 200


def test_revoking_asks_first_and_then_works_at_once(signed_in):
    client = signed_in("edith")
    secret = make(client)
    page = client.post("/account/", {"do": "revoke"}).content.decode()
    assert "Revoke your token?" in page
    assert queue(secret) == 200
    answer = client.post("/account/", {"do": "revoke", "sure": "yes"}, follow=True)
    assert "Nothing can use that token any more" in answer.content.decode()
    assert queue(secret) == 401
    assert queue(make(client)) == 200


def test_making_and_revoking_are_in_the_audit_log(scene, signed_in):
    client = signed_in("edith")
    make(client)
    client.post("/account/", {"do": "revoke", "sure": "yes"})
    rows = AuditEntry.objects.filter(actor=scene.people["edith"]).order_by("pk").values_list("verb", "target")
    assert list(rows) == [(verb, f"user:{scene.people['edith'].pk}") for verb in ("made a token", "revoked a token")]


def test_a_token_of_somebody_who_was_deactivated_opens_nothing(scene, signed_in):
    secret = make(signed_in("edith"))
    scene.people["edith"].is_active = False
    scene.people["edith"].save()
    assert queue(secret) == 401


@pytest.mark.parametrize("data", [{}, {"do": "something"}, {"do": "revoke"}, {"do": "revoke", "sure": "yes"}])
def test_what_makes_no_sense_changes_nothing(data, signed_in):
    assert signed_in("edith").post("/account/", data, follow=True).status_code == 200
    assert not Token.objects.exists()
