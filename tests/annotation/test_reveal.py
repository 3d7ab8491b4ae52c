"""Blind first: whoever has seen what others said writes assisted from then on, and that is stored."""

from __future__ import annotations

import pytest

from annotation import actions
from annotation.errors import NotYours
from annotation.models import AuditEntry, Reveal
from tests.annotation.makers import claim_one, make_batch, make_rollouts, submit


def revise(row, user, **fields):
    return actions.revise_feedback(row, key="r", user=user, reason="a second look", critique="Better than I said.", score=60, **fields)


def test_a_verdict_is_blind_and_so_is_its_revision(domain, panel, alice):
    make_batch(panel, domain, 1)
    row = submit(claim_one(alice), user=alice)
    assert not row.assisted
    assert not revise(row, alice).assisted


def test_after_comparing_a_revision_is_assisted(domain, panel, alice):
    make_batch(panel, domain, 1)
    row = submit(claim_one(alice), user=alice)
    for _ in range(2):
        actions.reveal(row, user=alice)
    new = revise(row, alice)
    assert (new.assisted, new.reason, new.revision) == (True, "a second look", 2)
    assert Reveal.objects.count() == AuditEntry.objects.filter(verb="revealed").count() == 1


def test_a_verdict_on_the_same_text_in_a_later_batch_is_assisted(domain, panel, alice, bob):
    rollouts = make_rollouts(domain, 1)
    make_batch(panel, domain, rollouts)
    actions.reveal(submit(claim_one(alice), user=alice), user=alice)
    batch = make_batch(panel, domain, rollouts, reviewers=2)
    assert submit(claim_one(alice, batch=batch), user=alice).assisted
    assert not submit(claim_one(bob, batch=batch), user=bob).assisted


def test_only_who_wrote_a_verdict_may_compare_it(domain, panel, alice, bob):
    make_batch(panel, domain, 1)
    row = submit(claim_one(alice), user=alice)
    with pytest.raises(NotYours):
        actions.reveal(row, user=bob)
