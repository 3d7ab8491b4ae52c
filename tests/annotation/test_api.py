"""Reviewing over HTTP: the same rules as on the pages, one shape of errors, nothing that a reviewer may not know."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema  # type: ignore[import-untyped]
import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from annotation import actions, roles, tokens
from annotation.models import Claim, Draft, Feedback, Item, Rollout
from tests.annotation.makers import WORDS, claim_one, expire, make_batch, make_panel, make_rollouts, submit

pytestmark = pytest.mark.django_db
SPAN = {"start": 0, "end": 5, "quote": "Story", "sign": "+", "comment": "why"}


class Tool:
    """What a person's own program is: it sends their token, and checks each answer against the schema."""

    def __init__(self, user: User, schema: dict[str, Any]) -> None:
        Group.objects.get_or_create(name=roles.EXPERT)[0].user_set.add(user)
        self.client, self.schema = Client(headers={"authorization": f"Bearer {tokens.make_token(user)}"}), schema

    def __call__(self, method: str, path: str, data: Any = None, **headers: str) -> Any:
        body = json.dumps({} if data is None else data)
        options = {} if method == "GET" else {"data": body, "content_type": "application/json"}
        answer = getattr(self.client, method.lower())(f"/api/v1/{path}", headers=headers, **options)
        conforms(self.schema, method, answer)
        return answer

    def claim(self, **data: Any) -> dict[str, Any]:
        answer = self("POST", "claims/", data)
        assert answer.status_code in (200, 201), answer.content
        return answer.json()

    def submit(self, token: str, **changes: Any) -> Any:
        return self("POST", f"claims/{token}/submit/", {"key": "k", "critique": WORDS, "score": 62} | changes)


def conforms(schema: dict[str, Any], method: str, answer: Any) -> None:
    """The answer is one that the schema promises for this route."""
    path = answer.resolver_match.route
    route = schema["paths"]["/" + re.sub(r"<\w+:(\w+)>", r"{\1}", path).replace("{pk}", "{id}")]
    promised = route[method.lower()]["responses"]
    assert str(answer.status_code) in promised, (path, answer.status_code, answer.content)
    if answer.status_code != 204:
        described = promised[str(answer.status_code)]["content"]["application/json"]["schema"] | {"components": schema["components"]}
        jsonschema.validate(answer.json(), json.loads(json.dumps(described)), format_checker=jsonschema.FormatChecker())


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return nullable(SchemaGenerator().get_schema(request=None, public=True))


def nullable(part: Any) -> Any:
    """OpenAPI 3.0 says `nullable`, which JSON Schema does not know."""
    if isinstance(part, dict):
        found = {name: nullable(inner) for name, inner in part.items()}
        return {"anyOf": [found, {"type": "null"}]} if found.pop("nullable", None) is True else found
    return [nullable(inner) for inner in part] if isinstance(part, list) else part


@pytest.fixture
def as_alice(alice, panel, schema) -> Tool:
    return Tool(alice, schema)


@pytest.fixture
def as_bob(bob, panel, schema) -> Tool:
    return Tool(bob, schema)


def error(answer: Any) -> tuple[int, str]:
    body = answer.json()
    assert set(body) - {"draft"} == {"code", "message", "fields"}
    assert body["message"]
    return answer.status_code, body["code"]


# The queue and claims -----------------------------------------------------------------------------------------------------------


def test_the_queue_shows_what_waits_and_what_one_has_open(domain, panel, as_alice):
    batch = make_batch(panel, domain, 3)
    (row,) = as_alice("GET", "queue/").json()["batches"]
    assert (row["id"], row["total"], row["left"], row["claim"]) == (batch.pk, 3, 3, None)
    token = as_alice.claim()["token"]
    found = as_alice("GET", "queue/").json()
    assert (found["batches"][0]["left"], found["batches"][0]["claim"], found["today"]) == (2, token, 0)


def test_a_claim_brings_all_that_is_needed_to_judge_the_text(domain, panel, as_alice):
    domain.guidelines, domain.score_max, domain.score_anchors = "Read it *all*.", 10, ["bad", "good"]
    domain.save()
    batch = make_batch(panel, domain, 2, lease_seconds=600)
    answer = as_alice("POST", "claims/")
    found, claim = answer.json(), Claim.objects.get()
    rollout = claim.item.rollout
    assert answer.status_code == 201
    assert (found["token"], found["item"], found["batch"], found["domain"]) == (str(claim.token), claim.item_id, batch.pk, domain.slug)
    assert (found["prompt"], found["content"], found["finished"]) == (rollout.prompt.text, rollout.content, True)
    assert found["score"] == {"min": 0.0, "max": 10.0, "required": True, "anchors": ["bad", "good"]}
    assert (found["guidelines"], found["outcome"], found["draft"]) == ("Read it *all*.", "", None)
    assert timedelta(seconds=590) < claim.expires - timezone.now() < timedelta(seconds=601)
    assert found["expires"] == claim.expires.isoformat().replace("+00:00", "Z")
    assert as_alice("GET", f"claims/{claim.token}/").json() == found


def test_one_has_one_text_at_a_time_whatever_batch_is_asked_for(domain, panel, as_alice):
    batch, other = make_batch(panel, domain, 2), make_batch(panel, domain, 2)
    first = as_alice.claim(batch=batch.pk)
    again = as_alice("POST", "claims/", {"batch": other.pk})
    assert (again.status_code, again.json()["token"], again.json()["batch"]) == (200, first["token"], batch.pk)


def test_a_batch_can_be_asked_for(domain, panel, as_alice):
    make_batch(panel, domain)
    assert as_alice.claim(batch=(wanted := make_batch(panel, domain)).pk)["batch"] == wanted.pk


def test_nothing_waits(as_alice):
    assert as_alice("POST", "claims/").status_code == 204


def test_two_people_are_handed_two_texts(domain, panel, as_alice, as_bob):
    make_batch(panel, domain, 2)
    assert as_alice.claim()["item"] != as_bob.claim()["item"]


@pytest.mark.parametrize("batch", [0, -1, 2**63, "x", 1.5, True, [1]])
def test_a_batch_that_is_no_number_is_an_error_by_field(batch, as_alice):
    answer = as_alice("POST", "claims/", {"batch": batch})
    assert error(answer) == (422, "invalid")
    assert list(answer.json()["fields"]) == ["batch"]


def test_another_panels_batch_is_not_there(domain, carol, as_alice):
    batch = make_batch(make_panel(carol, alias="others"), domain)
    assert error(as_alice("POST", "claims/", {"batch": batch.pk})) == (404, "not_found")


def test_what_a_page_fetched_ahead_is_not_read_before_it_is_opened(domain, panel, alice, as_alice):
    make_batch(panel, domain, 2)
    ahead = actions.claim_ahead(as_alice.claim()["token"], user=alice)
    assert error(as_alice("GET", f"claims/{ahead.token}/")) == (404, "not_found")


# Blind ----------------------------------------------------------------------------------------------------------------------------


def test_nothing_is_said_that_a_reviewer_may_not_know(domain, panel, alice, bob, as_alice):
    rollouts = make_rollouts(domain, 2)
    Rollout.objects.update(run="secret-run", step=1918273645, checkpoint="c" * 64, completion="<think>secret thought</think>")
    for pk in rollouts:
        actions.set_gold(Rollout.objects.get(pk=pk), 91.28125, actor=None, note="secret note")
    actions.record_proxy_grades(
        "secret-run", "p" * 64, [{"id": pk, "sample": 0, "score": 93.71875, "critique": "secret proxy words"} for pk in rollouts]
    )
    options = {"title": "secret title at step 120", "experiment": "secret-experiment", "proxy": "p" * 64, "reviewers": 2, "key": "secret-key"}
    batch = make_batch(panel, domain, rollouts, strategy="max-variance", repeat_share=0.5, **options)
    submit(claim_one(bob), user=bob, critique="secret words of a colleague", score=17.53125)
    seen, claims = [], []
    while (answer := as_alice("POST", "claims/")).status_code == 201:
        claims.append(answer.json())
        token = answer.json()["token"]
        seen += [answer.content, as_alice("GET", f"claims/{token}/").content, as_alice.submit(token, key=token).content]
    seen += [as_alice("GET", path).content for path in ("queue/", "verdicts/")]
    assert len(claims) > 2  # hidden repeats among them
    assert len({tuple(sorted(claim)) for claim in claims}) == 1
    assert Item.objects.filter(batch=batch, control="repeat", state="done").exists()
    text = b"\n".join(seen).decode()
    hidden = ("secret", "91.28125", "93.71875", "17.53125", "c" * 64, "p" * 64, "1918273645", "repeat", "gold", "control", "slot")
    assert not [word for word in hidden if word in text]


# Drafts -----------------------------------------------------------------------------------------------------------------------------


def test_a_draft_is_kept_with_its_highlights_and_comes_back_with_the_claim(domain, panel, as_alice):
    make_batch(panel, domain)
    token = as_alice.claim()["token"]
    words = {"critique": " half a\n thought ", "deliberation": "d", "score": "6", "spans": [SPAN]}
    saved = as_alice("PUT", f"claims/{token}/draft/", words).json()
    assert saved["version"] == 1
    assert saved["expires"] > as_alice("GET", f"claims/{token}/").json()["draft"]["saved"]
    as_alice("POST", f"claims/{token}/release/")
    draft = as_alice.claim()["draft"]
    assert {name: draft[name] for name in words} == words
    assert as_alice("PUT", f"claims/{Claim.objects.get(ended=None).token}/draft/", words | {"critique": "more", "version": 1}).json()["version"] == 2


def test_a_draft_that_was_saved_elsewhere_is_not_overwritten_and_its_copy_comes_back(domain, panel, alice, as_alice):
    make_batch(panel, domain)
    token = as_alice.claim()["token"]
    actions.save_draft(token, user=alice, critique="from the browser", spans=[SPAN])
    answer = as_alice("PUT", f"claims/{token}/draft/", {"critique": "from the tool"})
    assert error(answer) == (409, "draft_conflict")
    draft = answer.json()["draft"]
    assert (draft["critique"], draft["version"], draft["spans"]) == ("from the browser", 1, [SPAN])
    assert Draft.objects.get().critique == "from the browser"


def test_words_that_come_after_the_lease_are_kept(domain, panel, as_alice, as_bob):
    make_batch(panel, domain)
    token = as_alice.claim()["token"]
    expire(Claim.objects.get())
    assert as_bob.claim()["item"]
    assert as_alice("PUT", f"claims/{token}/draft/", {"critique": "late"}).status_code == 200
    assert as_alice("GET", f"claims/{token}/").json()["outcome"] == "expired"
    assert error(as_alice("POST", f"claims/{token}/renew/")) == (410, "claim_lost")
    receipt = as_alice.submit(token)
    assert (receipt.status_code, receipt.json()["counted"]) == (201, False)
    assert "extra verdict" in receipt.json()["message"]


def test_a_lease_is_renewed(domain, panel, as_alice):
    make_batch(panel, domain)
    found = as_alice.claim()
    assert as_alice("POST", f"claims/{found['token']}/renew/").json()["expires"] > found["expires"]


# Verdicts -------------------------------------------------------------------------------------------------------------------------


def test_a_verdict_is_stored_as_written_and_the_next_text_can_be_claimed(domain, panel, alice, as_alice):
    make_batch(panel, domain, 2)
    found = as_alice.claim()
    answer = as_alice.submit(found["token"], critique=" as\n written ", deliberation="so", spans=[SPAN], score=62.5)
    row = Feedback.objects.get()
    assert (answer.status_code, answer.json()["id"], answer.json()["counted"], answer.json()["message"]) == (201, row.pk, True, "")
    assert (row.author, row.critique, row.deliberation, row.score, row.key) == (alice, " as\n written ", "so", 62.5, "k")
    assert list(row.spans.values_list("start", "end", "quote", "sign", "comment")) == [(0, 5, "Story", "+", "why")]
    assert as_alice.claim()["item"] != found["item"]


def test_the_same_key_lands_once_by_header_or_by_field(domain, panel, as_alice):
    make_batch(panel, domain, 2)
    token = as_alice.claim()["token"]
    words = {"critique": WORDS, "score": 62}
    first = as_alice("POST", f"claims/{token}/submit/", words, **{"Idempotency-Key": "once"})
    again = as_alice("POST", f"claims/{token}/submit/", words | {"key": "once"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert Feedback.objects.count() == 1


def test_a_second_verdict_under_another_key_and_another_verdicts_key_are_refused(domain, panel, as_alice):
    make_batch(panel, domain, 2)
    first = as_alice.claim()["token"]
    as_alice.submit(first)
    assert error(as_alice.submit(first, key="another")) == (409, "already_answered")
    assert error(as_alice.submit(as_alice.claim()["token"])) == (409, "key_used")
    assert error(as_alice("PUT", f"claims/{first}/draft/", {"critique": "more"})) == (409, "already_answered")
    assert error(as_alice("POST", f"claims/{first}/renew/")) == (409, "already_answered")


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"critique": "  "}, ["critique"]),
        ({"critique": None}, ["critique"]),
        ({"critique": ["words"]}, ["critique"]),
        ({"critique": "a\0b"}, ["critique"]),
        ({"critique": "x" * 100_001}, ["critique"]),
        ({"score": None}, ["score"]),
        ({"score": 101}, ["score"]),
        ({"score": "good"}, ["score"]),
        ({"score": "nan"}, ["score"]),
        ({"score": True}, ["score"]),
        ({"score": 10**400}, ["score"]),
        ({"critique": "", "score": -1}, ["critique", "score"]),
        ({"spans": [SPAN | {"quote": "Stork"}]}, ["spans"]),
        ({"spans": [SPAN, SPAN | {"sign": "?", "start": -1}]}, ["spans"]),
        ({"spans": [SPAN | {"end": 2**31}]}, ["spans"]),
        ({"spans": ["Story"]}, ["spans"]),
        ({"spans": "Story"}, ["spans"]),
        ({"spans": [SPAN] * 501}, ["spans"]),
        ({"key": ""}, ["key"]),
        ({"key": "k" * 81}, ["key"]),
        ({"key": "a\nb"}, ["key"]),
    ],
)
def test_what_is_wrong_is_said_by_field_and_nothing_is_stored(changes, fields, domain, panel, as_alice):
    make_batch(panel, domain)
    token = as_alice.claim()["token"]
    answer = as_alice.submit(token, **changes)
    assert error(answer) == (422, "invalid")
    assert sorted(answer.json()["fields"]) == fields
    assert all(isinstance(words, str) and words for found in answer.json()["fields"].values() for words in found)
    assert not Feedback.objects.exists()
    assert as_alice.submit(token).status_code == 201


def test_a_key_is_needed_and_cannot_be_two(domain, panel, as_alice):
    make_batch(panel, domain)
    path = f"claims/{as_alice.claim()['token']}/submit/"
    for answer in (as_alice("POST", path, {"critique": WORDS, "score": 1}), as_alice("POST", path, {"key": "a"}, **{"Idempotency-Key": "b"})):
        assert (error(answer), list(answer.json()["fields"])) == ((422, "invalid"), ["key"])


def test_which_highlight_is_wrong_is_said(domain, panel, as_alice):
    make_batch(panel, domain)
    answer = as_alice.submit(as_alice.claim()["token"], spans=[SPAN, SPAN | {"sign": "?"}])
    assert answer.json()["fields"]["spans"] == ['1: sign: "?" is not a valid choice.']


def test_a_score_is_optional_where_the_domain_says_so(domain, panel, as_alice):
    domain.score_required = False
    domain.save()
    make_batch(panel, domain)
    assert as_alice.submit(as_alice.claim()["token"], score=None).json()["score"] is None


# Declining and giving back -----------------------------------------------------------------------------------------------------


def test_declining_needs_a_reason_and_the_text_goes_to_a_colleague(domain, panel, as_alice, as_bob):
    make_batch(panel, domain)
    found = as_alice.claim()
    path = f"claims/{found['token']}/decline/"
    for data, field in [
        ({}, "reason"),
        ({"reason": "tired"}, "reason"),
        ({"reason": "other"}, "words"),
        ({"reason": "other", "words": "x" * 301}, "words"),
    ]:
        answer = as_alice("POST", path, data)
        assert (error(answer), list(answer.json()["fields"])) == ((422, "invalid"), [field])
    for _ in range(2):
        assert as_alice("POST", path, {"reason": "conflict", "words": "a friend"}).json()["outcome"] == "declined"
    assert (Claim.objects.get().declined, Claim.objects.get().reason) == ("conflict", "a friend")
    assert as_alice("POST", "claims/").status_code == 204
    assert as_bob.claim()["item"] == found["item"]
    assert error(as_alice("GET", path.replace("decline/", ""))) == (410, "claim_lost")


def test_what_is_given_back_may_come_again(domain, panel, as_alice):
    make_batch(panel, domain)
    found = as_alice.claim()
    for _ in range(2):
        assert as_alice("POST", f"claims/{found['token']}/release/").json()["outcome"] == "released"
    assert error(as_alice("GET", f"claims/{found['token']}/")) == (410, "claim_lost")
    again = as_alice.claim()
    assert again["item"] == found["item"]
    assert again["token"] != found["token"]


# History --------------------------------------------------------------------------------------------------------------------------


def test_ones_own_verdicts_come_newest_first_and_page_by_page(domain, panel, bob, as_alice):
    make_batch(panel, domain, 4)
    submit(claim_one(bob), user=bob)
    items = []
    for key in ("a", "b", "c"):
        found = as_alice.claim()
        items.append(found["item"])
        as_alice.submit(found["token"], key=key, spans=[SPAN])
    page = as_alice("GET", "verdicts/?page_size=2").json()
    assert (page["count"], [row["item"] for row in page["results"]]) == (3, items[:0:-1])
    assert page["results"][0]["spans"] == [SPAN]
    assert [row["item"] for row in as_alice("GET", "verdicts/?page_size=2&page=2").json()["results"]] == items[:1]
    assert error(as_alice("GET", "verdicts/?page=9")) == (404, "not_found")


def test_a_verdict_is_revised_once_under_one_key(domain, panel, bob, as_alice):
    make_batch(panel, domain, 2)
    old = as_alice.submit(as_alice.claim()["token"]).json()
    path, data = f"verdicts/{old['id']}/revise/", {"key": "r", "critique": "better", "score": 50, "reason": "read again"}
    new, again = as_alice("POST", path, data), as_alice("POST", path, data)
    assert (new.status_code, again.status_code, new.json()["revision"]) == (201, 200, 2)
    assert new.json() == again.json()
    (row,) = as_alice("GET", "verdicts/").json()["results"]
    assert (row["id"], row["critique"], row["reason"]) == (new.json()["id"], "better", "read again")
    assert error(as_alice("POST", path, data | {"key": "r2"})) == (409, "already_answered")
    answer = as_alice("POST", f"verdicts/{row['id']}/revise/", data | {"key": "r3", "reason": " ", "critique": ""})
    assert sorted(answer.json()["fields"]) == ["critique", "reason"]
    theirs = submit(claim_one(bob), user=bob)
    assert error(as_alice("POST", f"verdicts/{row['id']}/revise/", data | {"key": theirs.key})) == (409, "key_used")
    for pk in (theirs.pk, 0, 2**63):
        assert error(as_alice("POST", f"verdicts/{pk}/revise/", data)) == (404, "not_found")


# Who may -------------------------------------------------------------------------------------------------------------------------

WAYS = [("GET", ""), ("PUT", "draft/"), ("POST", "renew/"), ("POST", "submit/"), ("POST", "decline/"), ("POST", "release/")]
SENT = {"draft/": {"critique": "a"}, "submit/": {"key": "k", "critique": "a", "score": 1}, "decline/": {"reason": "conflict"}}


@pytest.mark.parametrize(("method", "way"), WAYS)
def test_somebody_elses_claim_and_none_at_all_are_not_there(method, way, domain, panel, alice, as_bob):
    make_batch(panel, domain)
    for token in (claim_one(alice).token, uuid4()):
        assert error(as_bob(method, f"claims/{token}/{way}", SENT.get(way))) == (404, "not_found")


@pytest.mark.parametrize("loss", ["panel", "role"])
@pytest.mark.parametrize(("method", "way"), WAYS)
def test_who_left_the_panel_is_told_so_for_the_claims_they_hold(method, way, loss, domain, panel, alice, as_alice):
    make_batch(panel, domain)
    token = as_alice.claim()["token"]
    panel.members.remove(alice) if loss == "panel" else alice.groups.clear()
    answer = as_alice(method, f"claims/{token}/{way}", SENT.get(way))
    assert error(answer) == (403, "not_on_the_panel")
    assert "no longer on the panel" in answer.json()["message"]
    assert not Feedback.objects.exists()
    assert not Draft.objects.exists()
    assert as_alice("POST", "claims/").status_code == 403  # nor is the text read out by claiming it again


def test_who_is_no_expert_is_told_so(domain, panel, alice, as_alice):
    alice.groups.clear()
    for method, path in [("GET", "queue/"), ("POST", "claims/"), ("GET", "verdicts/"), ("POST", "verdicts/1/revise/")]:
        assert error(as_alice(method, path)) == (403, "not_a_reviewer")


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer x", "Bearer a b", "Token x", "Bearer \xff"])
def test_without_a_valid_token_nothing_is_said(header, domain, panel, alice):
    claim = make_batch(panel, domain) and claim_one(alice)
    client = Client(headers={"authorization": header} if header else {})
    for path in ("queue/", "verdicts/", f"claims/{claim.token}/", "nowhere/"):
        answer = client.get(f"/api/v1/{path}")
        assert error(answer)[0] == 401
        assert answer["WWW-Authenticate"] == "Bearer"
    assert client.get("/api/schema/").status_code == 401


def test_a_signed_in_browser_needs_the_csrf_token(domain, panel, alice, as_alice):
    make_batch(panel, domain)
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/api/v1/queue/").status_code == 200
    assert error(client.post("/api/v1/claims/", {}, content_type="application/json")) == (403, "permission_denied")
    client.get("/account/")
    token = client.cookies["csrftoken"].value
    assert client.post("/api/v1/claims/", {}, content_type="application/json", headers={"x-csrftoken": token}).status_code == 201


# The shape of errors -------------------------------------------------------------------------------------------------------------


def test_every_other_address_is_json_as_well(as_alice):
    for path in ("", "claims/x/", "verdicts/x/revise/", "no/such/thing"):
        answer = as_alice.client.get(f"/api/v1/{path}") if path else None
        assert answer is None or error(answer) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "kind", "wanted"),
    [
        ("{", "application/json", (400, "parse_error")),
        ("[" * 100_000, "application/json", (400, "parse_error")),
        ('{"batch": NaN}', "application/json", (400, "parse_error")),
        ("\xff", "application/json; charset=utf-8", None),
        ("[]", "application/json", (422, "invalid")),
        ("null", "application/json", (422, "invalid")),
        ("batch=1", "application/x-www-form-urlencoded", (415, "unsupported_media_type")),
        ('{"batch": null, "x": "' + "y" * (10 * 2**20) + '"}', "application/json", (413, "too_large")),
    ],
)
def test_what_is_not_the_json_it_should_be_is_refused_in_the_same_shape(body, kind, wanted, as_alice):
    answer = as_alice.client.post("/api/v1/claims/", body.encode("latin-1"), content_type=kind)
    assert error(answer) == (wanted or (400, "parse_error"))


def test_a_wrong_method_is_refused_in_the_same_shape(as_alice):
    assert error(as_alice.client.delete("/api/v1/queue/")) == (405, "method_not_allowed")


# The schema and the docs --------------------------------------------------------------------------------------------------------


def test_the_schema_is_valid_and_complete():
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=StringIO())


def test_every_route_says_what_it_takes_what_it_answers_and_what_can_go_wrong(schema):
    routes = {(path, method): route for path, found in schema["paths"].items() for method, route in found.items()}
    assert len(routes) == 10
    for (path, _), route in routes.items():
        answers = route["responses"]
        assert {"401", "403"} <= set(answers), path
        assert any(status.startswith("2") for status in answers), path
        assert {"tokenAuth": []} in route["security"], path
        for status, answer in answers.items():
            if status != "204":
                described = answer["content"]["application/json"]
                assert described["schema"], (path, status)
                assert status[0] == "2" or described["examples"], (path, status)
        if "requestBody" in route:
            assert "422" in answers, path
    taking = {path for (path, method), route in routes.items() if "requestBody" in route}
    assert {path.rsplit("/", 2)[1] for path in taking} == {"claims", "draft", "submit", "decline", "revise"}


@pytest.mark.django_db(transaction=True)
def test_the_session_in_the_docs_runs_as_it_is_written(live_server, domain, panel, alice, as_alice, tmp_path):
    batch = make_batch(panel, domain, 3)
    (script,) = re.findall(r"```sh\n(.*?)```", (Path(settings.BASE_DIR) / "docs" / "api.md").read_text(), re.DOTALL)
    token = as_alice.client.defaults["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "SITE": live_server.url, "TOKEN": token}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    row = Feedback.objects.get(current=True)
    assert (row.item.batch, row.author, row.score, row.revision, row.reason) == (batch, alice, 58.0, 2, "The middle explains less than I thought")
    assert sorted(Claim.objects.values_list("outcome", flat=True)) == ["declined", "released", "submitted"]
    assert not Draft.objects.exists()


def test_the_docs_name_every_route_and_every_code():
    text = (Path(settings.BASE_DIR) / "docs" / "api.md").read_text()
    from annotation import api, api_urls

    for pattern in api_urls.urlpatterns[:-1]:
        shown = str(pattern.pattern).replace("<uuid:token>", "TOKEN").replace("<int:pk>", "ID")
        assert f" {shown}`" in text
    for code in [code for _, code in api.REFUSALS.values()] + ["not_a_reviewer", "not_on_the_panel", "too_large"]:
        assert f"`{code}`" in text
