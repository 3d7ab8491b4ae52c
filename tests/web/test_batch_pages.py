"""Admins look after batches: who has what, what is stuck, and what can be done about it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from annotation import actions
from annotation.errors import InvalidSelection, NothingToDo
from annotation.models import AuditEntry, Batch, Claim, Feedback, Gold, Item
from grading.errors import GraderError, Retry
from tests.web import scenery


@pytest.fixture
def batch(scene) -> Batch:
    return scenery.waiting(scene)[1]


@pytest.fixture
def ada(signed_in):
    return signed_in("ada")


def claim(scene, batch, name="edith") -> Claim:
    (found,) = actions.claim_next(user=scene.people[name], batch=batch)
    return found


def where(item: Item, verb: str = "") -> str:
    return f"/batches/{item.batch_id}/items/{item.pk}/" + (f"{verb}/" if verb else "")


def said(client, answer) -> str:
    """What the page says to which a POST leads."""
    assert answer.status_code == 302
    return client.get(answer["Location"]).content.decode()


def test_open_batches_come_first_in_the_order_of_the_queue(scene, batch, ada):
    later = scenery.ledger_batch(scene)
    actions.set_priority(later, 5, actor=None)
    closed = scenery.ledger_batch(scene, key="closed", title="Long ago")
    actions.close_batch(closed)
    page = ada.get("/batches/").content.decode()
    assert page.index(later.title) < page.index(batch.title) < page.index("Long ago")
    assert "priority 5" in page


def test_the_list_says_how_far_each_batch_is(scene, batch, ada):
    done = claim(scene, batch)
    actions.submit_feedback(done.token, key="done", critique="x", score=50, user=scene.people["edith"])
    claim(scene, batch)
    page = ada.get("/batches/").content.decode()
    assert "1 of 6 done" in page
    assert "4 waiting, 1 in hand" in page


def test_an_empty_list_says_where_batches_come_from(ada):
    assert "No batches yet" in ada.get("/batches/").content.decode()


def test_what_everybody_has_declined_is_stranded(scene, batch, ada):
    Item.objects.filter(batch=batch, position__gt=0).update(state="cancelled")
    for name in ("edith", "emil"):
        actions.decline(claim(scene, batch, name).token, user=scene.people[name], reason="expertise")
    assert "1 stranded" in ada.get("/batches/").content.decode()
    page = ada.get(f"/batches/{batch.pk}/?only=stranded").content.decode()
    assert "Add a member to The panel" in page
    assert page.count("It is outside my expertise") == 2


def test_the_batch_shows_who_has_what_and_its_controls(scene, ada):
    source = scenery.ledger_batch(scene)
    texts = list(source.items.order_by("position").values_list("rollout", flat=True))
    batch = actions.select_batch(
        key="with repeats", title="With repeats", domain=source.domain, expert=scene.panel, purpose="update", rollouts=texts, repeat_share=0.34
    )
    claim(scene, batch)
    page = ada.get(f"/batches/{batch.pk}/").content.decode()
    assert "hidden repeat" in page
    assert "edith<br>" in page
    assert "until " in page
    only = ada.get(f"/batches/{batch.pk}/?only=controls").content.decode()
    assert only.count("/items/") == batch.items.exclude(control="").count() == 1


def test_many_items_are_paged(scene, batch, ada, monkeypatch):
    monkeypatch.setattr("annotation.views.batches.ITEMS_PER_PAGE", 4)
    assert "Page 1 of 2" in ada.get(f"/batches/{batch.pk}/").content.decode()
    assert ada.get(f"/batches/{batch.pk}/?page=2").content.decode().count("/items/") == 2


def test_the_number_of_queries_does_not_grow_with_the_items(scene, batch, ada, django_assert_max_num_queries):
    for name in ("edith", "emil"):
        claim(scene, batch, name)
    with django_assert_max_num_queries(20):
        ada.get(f"/batches/{batch.pk}/")


def test_an_item_is_taken_back_after_a_look_at_who_has_it(scene, batch, ada):
    held = claim(scene, batch)
    page = ada.get(where(held.item, "release")).content.decode()
    assert "<b>edith</b> took it" in page
    assert str(held.token) in page
    answer = ada.post(where(held.item, "release"), {"token": held.token, "reason": "Edith is away"})
    assert "Taken back" in said(ada, answer)
    held.refresh_from_db()
    assert held.outcome == "released"
    assert AuditEntry.objects.get(verb="released").data["reason"] == "Edith is away"


def test_only_the_claim_that_was_shown_is_taken_back(scene, batch, ada):
    old = claim(scene, batch)
    actions.release(old.token, user=scene.people["edith"])
    Item.objects.filter(batch=batch).exclude(pk=old.item_id).update(state="cancelled")
    new = claim(scene, batch, "emil")
    assert new.item_id == old.item_id
    answer = ada.post(where(old.item, "release"), {"token": old.token, "reason": "too slow"})
    assert "nothing was done" in said(ada, answer)
    new.refresh_from_db()
    assert new.ended is None


@pytest.mark.parametrize("verb", ["release", "reassign", "reopen"])
def test_a_reason_is_needed(scene, batch, ada, verb):
    held = claim(scene, batch)
    if verb == "reopen":
        actions.submit_feedback(held.token, key="done", critique="x", score=50, user=scene.people["edith"])
    answer = ada.post(where(held.item, verb), {"token": held.token})
    assert answer.status_code == 422
    assert "Say why" in answer.content.decode()
    assert not AuditEntry.objects.filter(verb__in=["released", "reassigned", "reopened"]).exists()


def test_an_item_is_given_to_a_named_person_and_back_to_whoever_comes(scene, batch, ada):
    item = batch.items.order_by("position")[0]
    emil = scene.people["emil"]
    assert "it goes to emil" in said(ada, ada.post(where(item, "reassign"), {"person": emil.pk, "reason": "he asked"}))
    assert Item.objects.get(pk=item.pk).reviewer == emil
    assert "whoever comes" in said(ada, ada.post(where(item, "reassign"), {"person": "", "reason": "he is ill"}))
    assert Item.objects.get(pk=item.pk).reviewer is None


def test_nobody_outside_the_panel_can_be_named(scene, batch, ada):
    item = batch.items.first()
    assert ada.post(where(item, "reassign"), {"person": scene.people["rosalind"].pk, "reason": "x"}).status_code == 422


def test_what_an_action_refuses_is_said(scene, batch, ada):
    declined = claim(scene, batch)
    actions.decline(declined.token, user=scene.people["edith"], reason="conflict")
    answer = ada.post(where(declined.item, "reassign"), {"person": scene.people["edith"].pk, "reason": "she is back"})
    assert "edith has declined or judged this text already" in said(ada, answer)


def test_a_verdict_is_asked_for_again_and_the_old_one_kept(scene, batch, ada):
    done = claim(scene, batch)
    actions.submit_feedback(done.token, key="done", critique="x", score=50, user=scene.people["edith"])
    assert "asked for again" in said(ada, ada.post(where(done.item, "reopen"), {"reason": "the wrong text"}))
    assert Item.objects.get(pk=done.item_id).state == "ready"
    assert Feedback.objects.get().current is False
    assert "stands no longer" in ada.get(where(done.item)).content.decode()


def test_what_cannot_be_done_is_not_offered(scene, batch, ada):
    item = batch.items.first()
    page = ada.get(where(item)).content.decode()
    assert "Take back" not in page
    assert "Ask again" not in page
    assert "in another state by now" in said(ada, ada.post(where(item, "release"), {"reason": "x"}))
    assert ada.get(where(item, "nonsense")).status_code == 404
    assert ada.get(f"/batches/{batch.pk + 1}/items/{item.pk}/").status_code == 404


def test_what_was_abandoned_is_given_back_in_one_go(scene, batch, ada):
    held = [claim(scene, batch, name) for name in ("edith", "emil")]
    Claim.objects.filter(pk=held[0].pk).update(expires=timezone.now() - timedelta(minutes=1))
    assert "1 abandoned" in ada.get("/batches/").content.decode()
    page = ada.get(f"/batches/{batch.pk}/release/").content.decode()
    assert "edith" in page
    assert "emil" not in page
    assert "1 item is ready again" in said(ada, ada.post(f"/batches/{batch.pk}/release/", {"reason": "gone home"}))
    assert list(Claim.objects.filter(ended=None)) == [held[1]]
    assert "Nothing is abandoned" in ada.get(f"/batches/{batch.pk}/release/").content.decode()


def test_a_batch_is_closed_after_being_asked(scene, batch, ada):
    claim(scene, batch)
    page = ada.get(f"/batches/{batch.pk}/close/").content.decode()
    assert "5 items that wait are not asked any more" in page
    assert "1 is in somebody’s hands" in page
    assert "by-hand" in page
    assert ada.post(f"/batches/{batch.pk}/close/", {}).status_code == 422
    assert "Closed" in said(ada, ada.post(f"/batches/{batch.pk}/close/", {"reason": "enough"}))
    assert AuditEntry.objects.get(verb="closed").data["reason"] == "enough"
    assert "closed already" in ada.get(f"/batches/{batch.pk}/close/").content.decode()


def test_priority_moves_a_batch_up_the_queue(scene, batch, ada):
    second = scenery.ledger_batch(scene)
    said(ada, ada.post(f"/batches/{second.pk}/priority/", {"priority": "3"}))
    assert actions.claim_next(user=scene.people["edith"])[0].item.batch == second
    entry = AuditEntry.objects.get(verb="prioritised")
    assert (entry.actor, entry.data["before"], entry.data["to"]) == (scene.people["ada"], 0, 3)
    said(ada, ada.post(f"/batches/{second.pk}/priority/", {"priority": "3"}))
    assert AuditEntry.objects.filter(verb="prioritised").count() == 1  # nothing changed


REFUSED = [("", "whole number"), ("high", "whole number"), ("1.5", "whole number"), ("99999999999", "from -1000 to 1000")]


@pytest.mark.parametrize(("typed", "words"), REFUSED)
def test_a_priority_that_is_none_is_refused(batch, ada, typed, words):
    assert words in said(ada, ada.post(f"/batches/{batch.pk}/priority/", {"priority": typed}))
    batch.refresh_from_db()
    assert batch.priority == 0


def test_a_refused_priority_leaves_the_transaction_whole(batch):
    with pytest.raises(InvalidSelection):
        actions.set_priority(batch, 2**40, actor=None)
    actions.close_batch(batch)
    with pytest.raises(NothingToDo):
        actions.set_priority(batch, 1, actor=None)
    assert Batch.objects.get(pk=batch.pk).priority == 0


def test_a_judged_text_becomes_gold_is_corrected_and_taken_back(scene, batch, ada):
    item = batch.items.first()
    assert "score is known to be 71.5" in said(ada, ada.post(where(item, "gold"), {"score": "71,5", "note": "three editors"}))
    page = ada.get(where(item)).content.decode()
    assert "the text is gold: 71.5 (three editors)" in page
    said(ada, ada.post(where(item, "gold"), {"score": "80"}))
    assert Gold.objects.get().score == 80
    assert "gold no longer" in said(ada, ada.post(where(item, "not-gold"), {}))
    assert not Gold.objects.exists()


@pytest.mark.parametrize("score", ["", "high", "101"])
def test_a_known_score_must_lie_on_the_scale(batch, ada, score):
    answer = ada.post(where(batch.items.first(), "gold"), {"score": score})
    assert answer.status_code == 422
    assert not Gold.objects.exists()


def test_an_admin_on_the_panel_stays_blind_until_they_have_judged(scene, batch, ada):
    done = claim(scene, batch)
    actions.submit_feedback(done.token, key="done", critique="A slack paragraph.", score=50, user=scene.people["edith"])
    assert "A slack paragraph." in ada.get(where(done.item)).content.decode()
    scene.panel.members.add(scene.people["ada"])
    page = ada.get(where(done.item)).content.decode()
    assert "A slack paragraph." not in page
    assert "have yet to judge" in page


def test_what_models_and_people_wrote_is_text(scene, ada):
    batch = scenery.ledger_batch(scene, content=scenery.HOSTILE)
    declined = claim(scene, batch)
    actions.decline(declined.token, user=scene.people["edith"], reason="other", words=scenery.HOSTILE)
    for address in (f"/batches/{batch.pk}/", where(declined.item), "/batches/"):
        page = ada.get(address).content.decode()
        assert "<script>window" not in page
        assert "<img src=x" not in page


def test_a_batch_of_a_program_has_no_one_to_assign(scene, ada):
    scenery.running(scene, looks=1)
    batch = Batch.objects.filter(expert=scene.program)[0]
    item = batch.items.first()
    page = ada.get(where(item)).content.decode()
    assert scene.program.name in page
    assert "Assign" not in page


def test_it_says_when_an_expert_does_not_answer_and_what_is_at_its_provider(scene, batch, ada):
    address = f"/batches/{batch.pk}/"
    assert "has not answered" not in ada.get(address).content.decode()
    now = timezone.now()
    actions.expert_failed(batch, GraderError("529 overloaded", retry=Retry.after(600)), began=now, now=now)
    actions.keep_provider_batches(batch, {"ids": ["msgbatch_1", "msgbatch_2"]})
    page = ada.get(address).content.decode()
    assert f"{batch.expert.name} has not answered since {now:%H:%M} UTC (529 overloaded); it is tried again at " in page
    assert "Asked by 2 batches at the provider" in page
