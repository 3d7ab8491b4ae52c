"""What was written so far is safe, and no window overwrites another."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from annotation import actions
from annotation.errors import AlreadyAnswered, DraftConflict, NotYours
from annotation.models import Draft
from tests.annotation.makers import claim_one, expire, make_batch, submit


@pytest.fixture
def claim(domain, panel, alice):
    make_batch(panel, domain, lease_seconds=600)
    return claim_one(alice)


def test_each_save_is_a_version_and_renews_the_lease(claim, alice):
    later = timezone.now() + timedelta(seconds=300)
    first = actions.save_draft(claim.token, user=alice, critique="A")
    second = actions.save_draft(claim.token, user=alice, critique="AB", score="7?", version=first.version, now=later)
    assert (first.version, second.version, second.critique, second.score) == (1, 2, "AB", "7?")
    claim.refresh_from_db()
    assert claim.expires == later + timedelta(seconds=600)


def test_a_stale_version_is_refused_with_what_is_stored(claim, alice):
    actions.save_draft(claim.token, user=alice, critique="here")
    with pytest.raises(DraftConflict) as caught:
        actions.save_draft(claim.token, user=alice, critique="elsewhere", version=0)
    assert caught.value.current.critique == "here"
    assert Draft.objects.get().critique == "here"


def test_saving_the_same_text_again_is_no_conflict(claim, alice):
    first = actions.save_draft(claim.token, user=alice, critique="A")
    assert actions.save_draft(claim.token, user=alice, critique="A", version=0).version == first.version


def test_text_is_kept_after_the_lease_has_run_out_and_comes_back_with_the_item(claim, alice, bob):
    actions.save_draft(claim.token, user=alice, critique="A")
    expire(claim)
    actions.save_draft(claim.token, user=alice, critique="AB", version=1)
    assert claim_one(bob).item == claim.item
    assert claim.item.drafts.get(user=alice).critique == "AB"
    claim.refresh_from_db()
    assert claim.ended is not None


def test_two_people_on_one_item_have_drafts_of_their_own(claim, alice, bob):
    actions.save_draft(claim.token, user=alice, critique="A")
    expire(claim)
    assert actions.save_draft(claim_one(bob).token, user=bob, critique="B").version == 1
    assert Draft.objects.count() == 2


def test_another_persons_draft_cannot_be_touched(claim, carol):
    with pytest.raises(NotYours):
        actions.save_draft(claim.token, user=carol, critique="Mine now.")


def test_a_save_that_comes_after_the_submit_does_not_bring_the_draft_back(claim, alice):
    submit(claim, user=alice)
    with pytest.raises(AlreadyAnswered):
        actions.save_draft(claim.token, user=alice, critique="A")
    assert not Draft.objects.exists()
