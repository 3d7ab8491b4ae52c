"""The text that comes next is fetched under a short lease that counts as seen by nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from annotation import actions, desk
from annotation.errors import ClaimLost, NotYours
from annotation.models import Claim
from tests.annotation.makers import claim_one, make_batch, make_panel, make_user, states, submit


def test_it_is_the_next_of_the_same_batch_and_is_not_opened(domain, panel, alice):
    batch = make_batch(panel, domain, 3)
    claim = claim_one(alice)
    ahead = actions.claim_ahead(claim.token, user=alice)
    assert (ahead.item.position, ahead.opened) == (1, None)
    assert states(batch) == ["claimed", "claimed", "ready"]
    assert actions.claim_ahead(claim.token, user=alice) == ahead  # asking twice changes nothing


def test_where_nothing_follows_there_is_none(domain, panel, alice):
    make_batch(panel, domain, 1)
    make_batch(panel, domain, 1)  # another batch is not fetched from
    assert actions.claim_ahead(claim_one(alice).token, user=alice) is None


def test_after_a_submit_it_comes_next_and_its_time_starts_then(domain, panel, alice):
    make_batch(panel, domain, 3)
    claim = claim_one(alice)
    ahead = actions.claim_ahead(claim.token, user=alice)
    submit(claim, user=alice)
    later = timezone.now() + timedelta(seconds=40)
    following = claim_one(alice, now=later)
    assert (following, following.opened, following.started) == (ahead, later, later)


def test_a_verdict_on_it_counts_its_time_from_the_opening(domain, panel, alice):
    make_batch(panel, domain, 2)
    claim = claim_one(alice)
    actions.claim_ahead(claim.token, user=alice)
    submit(claim, user=alice)
    now = timezone.now() + timedelta(hours=1)
    row = submit(claim_one(alice, now=now), user=alice, key="second", now=now + timedelta(seconds=90))
    assert row.seconds == 90


def test_who_has_nothing_else_to_do_may_take_it(domain, panel, alice, bob):
    make_batch(panel, domain, 2)
    claim = claim_one(alice)
    ahead = actions.claim_ahead(claim.token, user=alice)
    assert claim_one(bob).item == ahead.item
    submit(claim, user=alice)
    assert actions.claim_next(user=alice) == []
    with pytest.raises(ClaimLost):
        actions.open_claim(ahead.token, user=alice)


def test_stale_leases_elsewhere_do_not_keep_it_from_them(domain, panel, alice, bob):
    others = [make_user(f"gone{i}") for i in range(30)]
    make_batch(make_panel(*others, alias="elsewhere"), domain, 30)
    for person in others:
        claim_one(person)
    batch = make_batch(panel, domain, 2)
    mine = claim_one(alice)
    ahead = actions.claim_ahead(mine.token, user=alice)
    Claim.objects.filter(user__in=others).update(expires=timezone.now() - timedelta(minutes=1))
    assert claim_one(bob, batch=batch).item_id == ahead.item_id


def test_nobody_fetches_ahead_what_another_has_fetched_ahead(domain, panel, alice, bob):
    make_batch(panel, domain, 3)
    claim = claim_one(alice)
    other = claim_one(bob)
    assert actions.claim_ahead(claim.token, user=alice)
    assert actions.claim_ahead(other.token, user=bob) is None


def test_writing_keeps_it(domain, panel, alice):
    make_batch(panel, domain, 2)
    claim = claim_one(alice)
    ahead = actions.claim_ahead(claim.token, user=alice)
    now = timezone.now()
    for minutes in range(1, 10):
        actions.save_draft(claim.token, user=alice, critique="word " * minutes, version=minutes - 1, now=now + timedelta(minutes=minutes))
        actions.expire_claims(now + timedelta(minutes=minutes, seconds=1))
    assert Claim.objects.get(pk=ahead.pk).ended is None


def test_without_a_sign_of_life_it_is_soon_free(domain, panel, alice):
    batch = make_batch(panel, domain, 2)
    actions.claim_ahead(claim_one(alice).token, user=alice)
    assert actions.expire_claims(timezone.now() + timedelta(minutes=3)) == 1
    assert states(batch) == ["claimed", "ready"]


def test_giving_the_text_in_hand_back_gives_it_back_too(domain, panel, alice):
    batch = make_batch(panel, domain, 2)
    claim = claim_one(alice)
    actions.claim_ahead(claim.token, user=alice)
    actions.release(claim.token, user=alice)
    assert states(batch) == ["ready", "ready"]


def test_going_on_with_another_batch_gives_it_back(domain, panel, alice):
    batch, other = make_batch(panel, domain, 2), make_batch(panel, domain, 1)
    claim = claim_one(alice, batch=batch)
    actions.claim_ahead(claim.token, user=alice)
    submit(claim, user=alice)
    assert claim_one(alice, batch=other).item.batch == other
    assert states(batch) == ["done", "ready"]


def test_it_is_nobody_elses_to_open(domain, panel, alice, bob):
    make_batch(panel, domain, 2)
    ahead = actions.claim_ahead(claim_one(alice).token, user=alice)
    with pytest.raises(NotYours):
        actions.open_claim(ahead.token, user=bob)


def test_one_text_in_hand_at_a_time(domain, panel, alice):
    make_batch(panel, domain, 2)
    ahead = actions.claim_ahead(claim_one(alice).token, user=alice)
    with pytest.raises(ClaimLost, match="another text open"):
        actions.open_claim(ahead.token, user=alice)


def test_the_queue_page_does_not_speak_of_it(domain, alice):
    panel = make_panel(alice)
    batch = make_batch(panel, domain, 2)
    claim = claim_one(alice)
    actions.claim_ahead(claim.token, user=alice)
    submit(claim, user=alice)
    assert desk.describe(alice, [batch])[0].open_token is None
