"""What a reviewer has said so far: the list, one verdict with its revisions, compared with others, revised."""

from __future__ import annotations

import json

import pytest

from annotation import actions
from annotation.models import Feedback, Reveal
from tests.web import scenery


@pytest.fixture
def batch(scene):
    return scenery.ledger_batch(scene)


@pytest.fixture
def row(scene, batch) -> Feedback:
    """Edith's verdict on the first text, with a highlight."""
    user = scene.people["edith"]
    (claim,) = actions.claim_next(user=user, batch=batch)
    spans = [actions.Passage(0, 12, "Every keeper", "+", "a whole world"), actions.Passage(6, 24, "keeper of Skarn li", "-", "")]
    return actions.submit_feedback(claim.token, key="k", user=user, critique="It *holds*.", deliberation="So.", score=62, spans=spans)


def new_words(**changes: str) -> dict[str, str]:
    return {"key": "r1", "critique": "It holds to the end.", "deliberation": "", "score": "70", "reason": "I misread the third paragraph."} | changes


def test_an_empty_history_says_what_will_be_there(scene, signed_in):
    assert "Once you have judged a text" in signed_in("edith").get("/review/verdicts/").content.decode()


def test_ones_verdicts_are_listed_and_nobody_elses(row, signed_in):
    page = signed_in("edith").get("/review/verdicts/").content.decode()
    assert "1 in all, 1 today" in page
    assert "It *holds*." in page
    assert "It *holds*." not in signed_in("emil").get("/review/verdicts/").content.decode()


def test_a_verdict_shows_the_text_with_its_highlights(row, signed_in):
    page = signed_in("edith").get(f"/review/verdicts/{row.pk}/").content.decode()
    assert '<mark class="strength">Every </mark><mark class="both">keeper</mark>' in page
    assert '<mark class="weakness"> of Skarn li</mark>' in page
    assert "a whole world" in page
    assert "You submitted this just now." in page


def test_the_claim_leads_to_the_verdict(row, signed_in):
    answer = signed_in("edith").get(f"/review/{row.claim.token}/")
    assert answer["Location"] == f"/review/verdicts/{row.pk}/"


def test_before_comparing_nothing_of_the_proxy_and_others_is_shown(scene, row, signed_in):
    rollout = row.item.rollout
    actions.record_proxy_grades(rollout.run, row.item.batch.proxy, [{"id": rollout.pk, "sample": 0, "score": 91.25, "critique": "proxy says hello"}])
    client = signed_in("edith")
    page = client.get(f"/review/verdicts/{row.pk}/").content.decode()
    assert "91.2" not in page
    assert "proxy says hello" not in page
    assert "training step" not in page
    assert client.post(f"/review/verdicts/{row.pk}/compare/")["Location"] == f"/review/verdicts/{row.pk}/"
    page = client.get(f"/review/verdicts/{row.pk}/").content.decode()
    assert "91.2" in page
    assert "+29.2" in page  # 91.25 - 62
    assert "proxy says hello" in page
    assert "training step 0" in page


def test_colleagues_are_compared_without_their_names(scene, signed_in):
    batch = scenery.ledger_batch(scene, key="both")
    (edith, emil) = (scene.people[name] for name in ("edith", "emil"))
    twice = actions.select_batch(
        key="twice", title="t", domain=batch.domain, expert=scene.panel, purpose="update", rollouts=[batch.items.first().rollout_id], reviewers=2
    )
    rows = []
    for user, score in ((edith, 62), (emil, 50)):
        (claim,) = actions.claim_next(user=user, batch=twice)
        rows.append(actions.submit_feedback(claim.token, key=f"{user}", user=user, critique=f"By {score}.", score=score))
    client = signed_in("edith")
    client.post(f"/review/verdicts/{rows[0].pk}/compare/")
    page = client.get(f"/review/verdicts/{rows[0].pk}/").content.decode()
    assert "A colleague" in page
    assert "By 50." in page
    assert "−12.0" in page  # 50 - 62
    assert "emil" not in page
    assert not Reveal.objects.filter(user=emil).exists()


def test_with_nobody_to_compare_with_it_says_so(row, signed_in):
    client = signed_in("edith")
    client.post(f"/review/verdicts/{row.pk}/compare/")
    assert "Nobody else has judged this text so far" in client.get(f"/review/verdicts/{row.pk}/").content.decode()


def test_a_revision_stands_in_the_place_of_the_verdict_and_the_old_one_is_kept(row, signed_in):
    client = signed_in("edith")
    form = client.get(f"/review/verdicts/{row.pk}/revise/").content.decode()
    assert "It *holds*." in form
    spans = json.dumps([{"start": 0, "end": 12, "quote": "Every keeper", "sign": "-", "comment": "too much"}])
    answer = client.post(f"/review/verdicts/{row.pk}/revise/", new_words(spans=spans))
    new = Feedback.objects.get(revision=2)
    assert answer["Location"] == f"/review/verdicts/{new.pk}/"
    assert (new.current, new.score, new.reason, new.spans.get().comment) == (True, 70.0, "I misread the third paragraph.", "too much")
    row.refresh_from_db()
    assert (row.current, row.critique, row.spans.count()) == (False, "It *holds*.", 2)
    page = client.get(answer["Location"]).content.decode()
    assert "Revision 1" in page
    assert 'Why it was revised: <q dir="auto">I misread the third paragraph.</q>' in page
    old = client.get(f"/review/verdicts/{row.pk}/").content.decode()
    assert "A later revision stands in its place" in old
    assert "Revise…" not in old


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reason": " "}, "Say why you change your verdict."),
        ({"critique": ""}, "Write what works"),
        ({"score": "high"}, "must be a number"),
        ({"reason": "x" * 400}, "at most 300 characters"),
    ],
)
def test_what_is_wrong_with_a_revision_is_said_beside_the_field(changes, message, row, signed_in):
    answer = signed_in("edith").post(f"/review/verdicts/{row.pk}/revise/", new_words(deliberation="kept & safe", **changes))
    assert answer.status_code == 422
    assert message in answer.content.decode()
    assert "kept &amp; safe" in answer.content.decode()
    assert Feedback.objects.count() == 1


def test_a_revision_sent_twice_lands_once_and_an_old_verdict_cannot_be_revised(row, signed_in):
    client = signed_in("edith")
    for _ in range(2):
        assert client.post(f"/review/verdicts/{row.pk}/revise/", new_words()).status_code == 302
    assert Feedback.objects.count() == 2
    answer = client.post(f"/review/verdicts/{row.pk}/revise/", new_words(key="r2"))
    assert answer.status_code == 422
    assert "A later revision of this verdict stands already." in answer.content.decode()


def test_hostile_text_is_text_here_too(scene, signed_in):
    batch = scenery.ledger_batch(scene, content=scenery.HOSTILE, key="hostile")
    user = scene.people["edith"]
    (claim,) = actions.claim_next(user=user, batch=batch)
    row = actions.submit_feedback(claim.token, key="h", user=user, critique=scenery.HOSTILE, score=1)
    for page in ("", "revise/"):
        text = signed_in("edith").get(f"/review/verdicts/{row.pk}/{page}").content.decode()
        assert "<script>window" not in text
        assert "&lt;script&gt;window.hacked" in text
