"""Named reviewers: who is to judge a text, and how that changes."""

from __future__ import annotations

import pytest

from annotation import actions
from annotation.errors import ClaimLost, InvalidSelection, NothingToDo
from annotation.models import AuditEntry, Claim, Draft, Feedback, Item
from tests.annotation.makers import claim_one, make_batch, make_user, states, submit


def test_named_people_get_one_item_each_on_every_text(domain, panel, alice, bob):
    batch = make_batch(panel, domain, 2, named=[alice, bob])
    for user in (alice, bob):
        while claims := actions.claim_next(user=user):
            submit(claims[0], user=user)
    assert set(states(batch)) == {"done"}
    assert Feedback.objects.filter(author=alice).count() == Feedback.objects.filter(author=bob).count() == 2


def test_a_named_text_is_not_handed_to_another(domain, panel, alice, bob):
    make_batch(panel, domain, 1, named=[alice])
    assert actions.claim_next(user=bob) == []
    assert claim_one(alice)


def test_people_who_are_not_on_the_panel_cannot_be_named(domain, panel, carol):
    with pytest.raises(InvalidSelection, match="carol"):
        make_batch(panel, domain, 1, named=[carol])


def test_a_named_person_who_declines_leaves_the_text_to_the_panel(domain, panel, alice, bob):
    make_batch(panel, domain, 1, named=[alice])
    actions.decline(claim_one(alice).token, user=alice, reason="conflict")
    assert claim_one(bob).item.reviewer is None


def test_reassigning_takes_the_text_out_of_ones_hands_and_keeps_the_draft(domain, panel, alice, bob):
    make_batch(panel, domain, 1)
    claim = claim_one(alice)
    actions.save_draft(claim.token, user=alice, critique="half a thought")
    boss = make_user("boss")
    actions.reassign(claim.item, bob, actor=boss, reason="alice is away")
    assert Claim.objects.get(pk=claim.pk).outcome == "released"
    assert Draft.objects.get(user=alice).critique == "half a thought"
    assert actions.claim_next(user=alice) == []
    assert claim_one(bob).item_id == claim.item_id
    entry = AuditEntry.objects.get(verb="reassigned")
    assert (entry.actor, entry.data["to"], entry.data["reason"]) == (boss, bob.pk, "alice is away")
    with pytest.raises(ClaimLost):
        actions.renew_claim(claim.token, user=alice)


def test_what_was_written_before_is_kept_as_an_extra_verdict(domain, panel, alice, bob):
    make_batch(panel, domain, 1)
    claim = claim_one(alice)
    actions.reassign(claim.item, bob, actor=None)
    claim_one(bob)
    assert not submit(claim, user=alice).counted


def test_reassigning_to_who_has_it_leaves_it_there(domain, panel, alice, bob):
    make_batch(panel, domain, 1)
    claim = claim_one(alice)
    actions.reassign(claim.item, alice, actor=None)
    assert Claim.objects.get(pk=claim.pk).ended is None
    assert Item.objects.get().reviewer == alice


def test_it_can_be_left_to_whoever_comes_again(domain, panel, alice, bob):
    make_batch(panel, domain, 1, named=[alice])
    actions.reassign(Item.objects.get(), None, actor=None)
    assert claim_one(bob)


def test_who_declined_or_judged_a_text_cannot_get_it(domain, panel, alice, bob):
    make_batch(panel, domain, 1)
    actions.decline(claim_one(alice).token, user=alice, reason="conflict")
    with pytest.raises(InvalidSelection, match="declined or judged"):
        actions.reassign(Item.objects.get(), alice, actor=None)
    assert Item.objects.get().reviewer is None


def test_what_is_done_is_not_reassigned_and_strangers_get_nothing(domain, panel, alice, carol):
    make_batch(panel, domain, 2)
    claim = claim_one(alice)
    submit(claim, user=alice)
    with pytest.raises(NothingToDo):
        actions.reassign(claim.item, alice, actor=None)
    with pytest.raises(InvalidSelection, match="not on the panel"):
        actions.reassign(Item.objects.get(state="ready"), carol, actor=None)
