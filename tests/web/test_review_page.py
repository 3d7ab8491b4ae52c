"""The review page without a script: what it shows, what it takes, what it says when something is wrong."""

from __future__ import annotations

import html
import json
import re
from datetime import timedelta

import pytest
from django.utils import timezone

from annotation import actions
from annotation.models import Claim, Draft, Feedback, Item, Span
from tests.web import scenery


@pytest.fixture
def claim(scene) -> Claim:
    _, batch = scenery.waiting(scene)
    (found,) = actions.claim_next(user=scene.people["edith"], batch=batch)
    return found


def words(**changes: str) -> dict[str, str]:
    return {"key": "k1", "critique": "The lantern earns its place.", "deliberation": "One slip.", "score": "62"} | changes


def test_a_verdict_is_stored_as_typed_and_the_next_text_follows(claim, signed_in):
    answer = signed_in("edith").post(f"/review/{claim.token}/", words(critique="Line one.\r\n\r\n<b>two</b> ", score="62,5"))
    following = Claim.objects.get(user=claim.user, ended=None)
    assert (answer.status_code, answer["Location"]) == (302, f"/review/{following.token}/")
    row = Feedback.objects.get(claim=claim)
    assert (row.critique.replace("\r\n", "\n"), row.deliberation, row.score) == ("Line one.\n\n<b>two</b> ", "One slip.", 62.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critique": "  "}, "Write what works and what does not"),
        ({"score": ""}, "Give a score from 0 to 100."),
        ({"score": "good"}, "The score must be a number from 0 to 100."),
        ({"score": "101"}, "The score must lie from 0 to 100."),
        ({"score": "nan"}, "The score must lie from 0 to 100."),
        ({"score": "1" * 40}, "at most 20 characters"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field_and_the_words_stay(changes, message, claim, signed_in):
    answer = signed_in("edith").post(f"/review/{claim.token}/", words(deliberation="kept & safe", **changes))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert message in page
    assert "kept &amp; safe" in page
    assert 'aria-invalid="true"' in page
    assert 'value="k1"' in page  # the same key: whatever way it lands, it lands once
    assert not Feedback.objects.filter(claim=claim).exists()


def test_the_same_form_sent_twice_lands_once(claim, signed_in):
    client = signed_in("edith")
    for _ in range(2):
        assert client.post(f"/review/{claim.token}/", words()).status_code == 302
    assert Feedback.objects.filter(author__username="edith").count() == 1


def test_a_second_verdict_from_another_window_shows_the_first(claim, signed_in):
    client = signed_in("edith")
    client.post(f"/review/{claim.token}/", words())
    page = client.post(f"/review/{claim.token}/", words(key="k2", critique="another"), follow=True).content.decode()
    assert "The lantern earns its place." in page
    assert "You submitted this" in page


def test_the_last_text_of_a_batch_ends_in_a_page_that_says_so(scene, signed_in):
    batch = scenery.ledger_batch(scene)
    client = signed_in("edith")
    answer = client.post("/review/start/", {"batch": batch.pk})
    for n in range(3):
        answer = client.post(answer["Location"], words(key=f"k{n}"))
    assert "The batch is finished" in client.get(answer["Location"]).content.decode()


def test_the_reviewer_is_blind_to_model_step_and_proxy(scene, signed_in):
    batch = scenery.ledger_batch(scene, title="secret title at step 120")
    rollout = batch.items.first().rollout
    actions.record_proxy_grades(rollout.run, "p" * 64, [{"id": rollout.pk, "sample": 0, "score": 91.25, "critique": "proxy says hello"}])
    client = signed_in("edith")
    for page in (client.get("/review/"), client.post("/review/start/", {"batch": batch.pk}, follow=True)):
        text = page.content.decode()
        assert not [word for word in ("secret title", "step 120", "91.25", "proxy says hello", "p" * 64) if word in text]
        assert "Chosen where the proxy is least sure." in text


def test_model_output_is_shown_as_text(scene, signed_in):
    batch = scenery.ledger_batch(scene, content=scenery.HOSTILE + "\n\nsecond paragraph")
    page = signed_in("edith").post("/review/start/", {"batch": batch.pk}, follow=True).content.decode()
    assert "&lt;script&gt;window.hacked = true&lt;/script&gt;&lt;img src=x onerror=" in page
    assert "{{ 7|add:7 }}" in page
    assert "<script>" not in page


def test_guidelines_are_markdown_and_nothing_else(scene, signed_in):
    scene.domain.guidelines = "**Read** it.\n\n<script>alert(1)</script>\n\n[a](javascript:alert(1)) [b](https://example.org)"
    scene.domain.save()
    scenery.waiting(scene)
    page = signed_in("edith").get(f"/review/guidelines/{scene.domain.slug}/").content.decode()
    assert "<strong>Read</strong>" in page
    assert "<script>alert" not in page
    assert 'href="javascript' not in page
    assert 'href="https://example.org"' in page


def test_a_draft_is_kept_and_shown_again(claim, signed_in):
    client = signed_in("edith")
    saved = client.post(f"/review/{claim.token}/draft/", {"critique": "half a thought", "deliberation": "", "score": "4", "version": 0}).json()
    assert saved["version"] == 1
    page = client.get(f"/review/{claim.token}/").content.decode()
    assert "half a thought" in page
    assert 'data-version="1"' in page


def test_a_draft_that_was_changed_elsewhere_is_not_overwritten(claim, signed_in):
    client = signed_in("edith")
    client.post(f"/review/{claim.token}/draft/", {"critique": "first window", "version": 0})
    answer = client.post(f"/review/{claim.token}/draft/", {"critique": "second window", "version": 0})
    assert (answer.status_code, answer.json()["critique"], answer.json()["version"]) == (409, "first window", 1)
    assert Draft.objects.get().critique == "first window"


@pytest.mark.parametrize("version", ["x", "-1", "9" * 30, "²"])
def test_a_draft_with_a_strange_version_is_refused(version, claim, signed_in):
    assert signed_in("edith").post(f"/review/{claim.token}/draft/", {"critique": "a", "version": version}).status_code == 400


def test_declining_needs_a_reason_and_keeps_the_words(claim, signed_in):
    client = signed_in("edith")
    client.post(f"/review/{claim.token}/draft/", {"critique": "half a thought", "version": 0})
    page = client.post(f"/review/{claim.token}/decline/", {}).content.decode()
    assert "Choose a reason" in page
    assert "half a thought" in page
    assert "Say in a few words" in client.post(f"/review/{claim.token}/decline/", {"reason": "other"}).content.decode()
    client.post(f"/review/{claim.token}/decline/", {"reason": "other", "words": "I know the author"})
    claim.refresh_from_db()
    assert (claim.outcome, claim.declined, claim.reason) == ("declined", "other", "I know the author")
    assert Item.objects.get(pk=claim.item_id).state == "ready"


def test_a_text_given_back_keeps_its_draft_for_later(claim, signed_in):
    client = signed_in("edith")
    client.post(f"/review/{claim.token}/draft/", {"critique": "half a thought", "version": 0})
    assert client.post(f"/review/{claim.token}/release/")["Location"] == "/review/"
    assert client.get(f"/review/{claim.token}/")["Location"] == "/review/"
    assert "half a thought" in client.post("/review/start/", {"batch": claim.item.batch_id}, follow=True).content.decode()


def test_words_that_come_after_the_lease_are_kept(claim, scene, signed_in):
    Claim.objects.filter(pk=claim.pk).update(expires=timezone.now() - timedelta(minutes=1))
    actions.expire_claims()
    (other,) = actions.claim_next(user=scene.people["emil"], batch=claim.item.batch)
    assert other.item_id == claim.item_id
    client = signed_in("edith")
    assert "Your lease on this text ended" in client.get(f"/review/{claim.token}/").content.decode()
    page = client.post(f"/review/{claim.token}/", words(), follow=True).content.decode()
    assert "Kept as an extra verdict" in page
    assert not Feedback.objects.get(claim=claim).counted


def test_who_comes_back_late_to_a_free_text_goes_on_as_before(claim, signed_in):
    Claim.objects.filter(pk=claim.pk).update(expires=timezone.now() - timedelta(minutes=1))
    actions.expire_claims()
    assert "Yours until" in signed_in("edith").get(f"/review/{claim.token}/").content.decode()
    assert signed_in("emil").post("/review/start/", {"batch": claim.item.batch_id}).headers["Location"] != f"/review/{claim.token}/"
    claim.refresh_from_db()
    assert claim.ended is None


def test_an_open_text_is_offered_before_another(scene, claim, signed_in):
    other = scenery.ledger_batch(scene)
    page = signed_in("edith").post("/review/start/", {"batch": other.pk}, follow=True)
    assert page.redirect_chain[-1][0] == f"/review/{claim.token}/"
    assert "You had this text open already" in page.content.decode()


def test_the_queue_counts_what_is_left_for_this_person(claim, scene, signed_in):
    client = signed_in("edith")
    client.post(f"/review/{claim.token}/", words())
    page = client.get("/review/").content.decode()
    assert "You have written 1 verdict today." in page
    assert "1 of 6 done, 1 by you today · 4 left for you" in page  # 6 less the one done and the one in hand
    assert "Go on where you were" in page
    assert "1 of 6 done · 4 left for you" in signed_in("emil").get("/review/").content.decode()


def test_an_empty_queue_says_so(scene, signed_in):
    assert "Nothing waits for you" in signed_in("edith").get("/review/").content.decode()


@pytest.mark.parametrize("batch", ["", "x", "999999", "9" * 40])
def test_starting_a_batch_that_is_not_there_is_not_found(batch, scene, signed_in):
    assert signed_in("edith").post("/review/start/", {"batch": batch}).status_code == 404


def as_script(client, address, data=None):
    return client.post(address, data or {}, headers={"accept": "application/json"})


def test_the_pages_own_script_is_told_where_to_go_on(claim, signed_in):
    client = signed_in("edith")
    ahead = as_script(client, f"/review/{claim.token}/prefetch/").json()["url"]
    answer = as_script(client, f"/review/{claim.token}/", words()).json()
    following = Claim.objects.get(user=claim.user, ended=None)
    assert answer == {"next": ahead, "expires": following.expires.isoformat(), "message": "", "level": "success"}
    assert ahead == f"/review/{following.token}/"
    said = as_script(client, f"/review/{following.token}/decline/", {"reason": "unreadable"}).json()
    assert (said["message"], said["level"]) == ("Declined. A colleague gets that text.", "success")


def test_what_is_fetched_ahead_is_not_opened_by_looking_ahead(claim, signed_in):
    client = signed_in("edith")
    url = client.post(f"/review/{claim.token}/prefetch/").json()["url"]
    assert client.get(f"{url}?ahead=1").status_code == 200
    assert Claim.objects.get(user=claim.user, ended=None, opened=None)
    client.post(f"/review/{claim.token}/", words())
    client.get(url)
    assert not Claim.objects.filter(ended=None, opened=None).exists()


def test_what_was_fetched_ahead_and_went_on_to_a_colleague_is_not_opened(claim, scene, signed_in):
    client = signed_in("edith")
    url = client.post(f"/review/{claim.token}/prefetch/").json()["url"]
    Claim.objects.filter(opened=None).update(expires=timezone.now() - timedelta(minutes=1))
    actions.expire_claims()
    actions.claim_next(user=scene.people["emil"], batch=claim.item.batch)
    assert client.get(f"{url}?ahead=1").status_code == 410
    assert "went to a colleague" in client.get(url, follow=True).content.decode()


def test_the_last_text_has_none_ahead(scene, signed_in):
    batch = scenery.ledger_batch(scene)
    Item.objects.filter(batch=batch, position__gt=0).delete()
    client = signed_in("edith")
    address = client.post("/review/start/", {"batch": batch.pk})["Location"]
    assert client.post(f"{address}prefetch/").json() == {"url": None}


def test_counts_come_as_a_fragment(claim, signed_in):
    page = signed_in("edith").get(f"/review/{claim.token}/counts/").content.decode()
    assert "0 of 6 done" in page
    assert "<html" not in page


def test_highlights_are_kept_with_the_draft_and_stored_with_the_verdict(scene, signed_in):
    content = "A wet 🐕 barked.\n\nCafe\u0301 noir."
    batch = scenery.ledger_batch(scene, content=content)
    client = signed_in("edith")
    address = client.post("/review/start/", {"batch": batch.pk})["Location"]
    start = content.index("Cafe")
    span = {"start": start, "end": start + 5, "quote": "Cafe\u0301", "sign": "-", "comment": "whose?"}
    assert client.post(f"{address}draft/", {"critique": "", "spans": json.dumps([span]), "version": 0}).json()["version"] == 1
    assert Draft.objects.get().spans == [span]
    (kept,) = re.findall(r'name="spans" value="([^"]*)"', client.get(address).content.decode())
    assert json.loads(html.unescape(kept)) == [span]
    client.post(address, words(spans=json.dumps([span])))
    row = Span.objects.get()
    assert (row.quote, content[row.start : row.end], row.sign, row.comment) == ("Cafe\u0301", "Cafe\u0301", "-", "whose?")


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ("{", "did not arrive in one piece"),
        ('{"start": 0}', "did not arrive in one piece"),
        ("[1]", "did not arrive in one piece"),
        ('[{"start": "0", "end": 3}]', "lacks its place"),
        ('[{"start": 0, "end": 99999999, "quote": "x", "sign": "+"}]', "lies outside the text"),
        ('[{"start": 0, "end": 3, "quote": "xyz", "sign": "+"}]', "does not match the text it quotes"),
        ('[{"start": 5, "end": 3, "quote": "", "sign": "+"}]', "lies outside the text"),
        (json.dumps([{"start": 0, "end": 5, "quote": "Every", "sign": "?"}]), "strength or a weakness"),
        (json.dumps([{"start": 0, "end": 1}] * 501), "more than the 500"),
    ],
)
def test_a_wrong_highlight_is_said_and_the_words_stay(spans, message, scene, signed_in):
    batch = scenery.ledger_batch(scene)
    client = signed_in("edith")
    address = client.post("/review/start/", {"batch": batch.pk})["Location"]
    answer = client.post(address, words(spans=spans, critique="My very words."))
    assert answer.status_code == 422
    assert message in answer.content.decode()
    assert "My very words." in answer.content.decode()
    assert not Feedback.objects.exists()


def test_200_kb_of_pasted_text_are_kept_as_a_draft_and_refused_with_a_reason(claim, signed_in):
    client = signed_in("edith")
    long = "word " * 40_000
    assert client.post(f"/review/{claim.token}/draft/", {"critique": long, "version": 0}).status_code == 200
    answer = client.post(f"/review/{claim.token}/", words(critique=long))
    assert answer.status_code == 422
    assert "The critique has 200,000 characters, and 100,000 is the most." in answer.content.decode()
    assert long in answer.content.decode()


def test_zero_width_right_to_left_and_emoji_come_back_as_typed(claim, signed_in):
    said = "zero\u200bwidth \u202eright to left\u202c שלום 👩\u200d🚀 e\u0301"
    signed_in("edith").post(f"/review/{claim.token}/", words(critique=said))
    assert Feedback.objects.get(claim=claim).critique == said


def test_who_left_the_panel_keeps_every_word(claim, scene, signed_in):
    scene.panel.members.remove(scene.people["edith"])
    client = signed_in("edith")
    answer = client.post(f"/review/{claim.token}/", words(critique="Long & careful."))
    assert answer.status_code == 403
    page = answer.content.decode()
    assert "no longer on the panel" in page
    assert "Long &amp; careful." in page
    for act in ("draft", "renew"):
        answer = client.post(f"/review/{claim.token}/{act}/", {"critique": "more", "version": 0})
        assert (answer.status_code, "no longer on the panel" in answer.json()["message"]) == (403, True)
    assert not Feedback.objects.filter(claim=claim).exists()
