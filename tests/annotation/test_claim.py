"""Who is handed what."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation import actions, querysets
from annotation.errors import ClaimLost, InvalidVerdict, NotYours
from annotation.models import AuditEntry, Batch, Claim, Item
from tests.annotation.makers import claim_one, expire, make_batch, make_domain, make_panel, make_program, make_rollouts, make_user, states, submit


def test_the_first_item_of_the_batch_with_the_highest_priority_comes_first(domain, panel, alice):
    make_batch(panel, domain, 2)
    urgent = make_batch(panel, domain, 2, priority=5)
    claim = claim_one(alice)
    assert (claim.item.batch, claim.item.position) == (urgent, 0)


def test_batches_of_equal_priority_come_in_the_order_of_their_making(domain, panel, alice):
    first, _ = make_batch(panel, domain), make_batch(panel, domain)
    assert claim_one(alice).item.batch == first


def test_it_hides_other_panels_items(domain, panel, carol):
    make_batch(panel, domain, 3)
    make_panel(carol, alias="others")
    assert actions.claim_next(user=carol) == []
    assert not querysets.claimable_by(user=carol).exists()


def test_a_superuser_who_is_on_no_panel_is_handed_nothing(domain, panel):
    make_batch(panel, domain)
    assert actions.claim_next(user=make_user("root", is_superuser=True)) == []


def test_people_are_not_handed_what_a_program_is_asked(domain, alice, panel):
    make_batch(make_program(), domain)
    assert actions.claim_next(user=alice) == []


def test_a_program_is_not_handed_what_people_are_asked(domain, panel):
    make_batch(panel, domain)
    assert actions.claim_next(expert=make_program()) == []


def test_nobody_is_handed_the_items_of_a_reward_batch(domain):
    program = make_program()
    make_batch(program, domain, 2, purpose=Batch.Purpose.REWARD)
    assert actions.claim_next(expert=program) == []


def test_an_inactive_expert_is_handed_nothing(domain, panel, alice):
    make_batch(panel, domain)
    panel.active = False
    panel.save()
    assert actions.claim_next(user=alice) == []


def test_two_people_get_two_items(domain, panel, alice, bob):
    make_batch(panel, domain, 2)
    assert claim_one(alice).item != claim_one(bob).item


def test_a_person_has_one_item_at_a_time_and_gets_it_again_with_its_lease_renewed(domain, panel, alice):
    batch = make_batch(panel, domain, 3, lease_seconds=600)
    other = make_batch(panel, domain, 3)
    claim = claim_one(alice)
    later = timezone.now() + timedelta(seconds=300)
    again = claim_one(alice, batch=other, now=later)
    assert again == claim
    assert again.expires == later + timedelta(seconds=600)
    assert states(batch) == ["claimed", "ready", "ready"]


def test_the_database_itself_refuses_a_second_open_claim_on_an_item_and_for_a_person(domain, panel, alice, bob):
    make_batch(panel, domain, 2)
    claim = claim_one(alice)
    other = Item.objects.exclude(pk=claim.item_id).get()
    for item, user in [(claim.item, bob), (other, alice)]:
        with pytest.raises(IntegrityError), transaction.atomic():
            Claim.objects.create(item=item, user=user, opened=timezone.now(), expires=timezone.now())


def test_a_person_may_ask_for_one_batch_only(domain, panel, alice):
    make_batch(panel, domain)
    wanted = make_batch(panel, domain)
    assert claim_one(alice, batch=wanted).item.batch == wanted


def test_a_person_does_not_get_a_second_slot_of_a_rollout_they_judged(domain, panel, alice, bob):
    make_batch(panel, domain, 1, reviewers=2)
    submit(claim_one(alice), user=alice)
    assert actions.claim_next(user=alice) == []
    assert claim_one(bob).item.slot == 1


def test_the_same_rollout_in_another_batch_is_another_question(domain, panel, alice):
    rollouts = make_rollouts(domain, 1)
    make_batch(panel, domain, rollouts)
    submit(claim_one(alice), user=alice)
    again = make_batch(panel, domain, rollouts)
    assert claim_one(alice).item.batch == again


def test_all_rollouts_get_a_first_reviewer_before_any_gets_a_second(domain, panel, alice, bob):
    make_batch(panel, domain, 2, reviewers=2)
    submit(claim_one(alice), user=alice)
    assert claim_one(bob).item.slot == 0


def test_an_item_of_a_closed_batch_is_not_handed_out(domain, panel, alice):
    batch = make_batch(panel, domain, 2)
    actions.close_batch(batch)
    assert actions.claim_next(user=alice) == []
    assert states(batch) == ["cancelled", "cancelled"]


def test_who_holds_an_item_of_a_closed_batch_gets_another_item_next(domain, panel, alice):
    first, second = make_batch(panel, domain), make_batch(panel, domain)
    old = claim_one(alice)
    actions.close_batch(first)
    assert claim_one(alice).item.batch == second
    old.refresh_from_db()
    assert old.outcome == "released"


def test_a_declined_item_goes_to_somebody_else_and_never_comes_back(domain, panel, alice, bob):
    batch = make_batch(panel, domain)
    claim = claim_one(alice)
    actions.decline(claim.token, user=alice, reason="conflict", words="I know the writer.")
    assert states(batch) == ["ready"]
    assert actions.claim_next(user=alice) == []
    assert claim_one(bob).item == claim.item
    assert AuditEntry.objects.get(verb="declined").data["words"] == "I know the writer."


def test_declining_needs_a_reason_of_bearable_length(domain, panel, alice):
    make_batch(panel, domain)
    claim = claim_one(alice)
    for reason in ["  ", "x" * 301]:
        with pytest.raises(InvalidVerdict) as caught:
            actions.decline(claim.token, user=alice, reason=reason)
        assert set(caught.value.errors) == {"reason"}


def test_items_that_the_whole_panel_declined_are_stranded(domain, panel, alice, bob):
    batch = make_batch(panel, domain, 2)
    item = claim_one(alice, batch=batch).item
    for user in (alice, bob):
        claim = claim_one(user, batch=batch)
        assert claim.item == item
        actions.decline(claim.token, user=user, reason="unreadable")
        assert list(querysets.stranded(batch)) == ([item] if user == bob else [])


def test_a_released_item_may_come_again(domain, panel, alice):
    make_batch(panel, domain)
    claim = claim_one(alice)
    assert actions.release(claim.token, user=alice).outcome == "released"
    assert claim_one(alice).item == claim.item


@pytest.mark.parametrize("act", [actions.release, actions.renew_claim, lambda token, user: actions.decline(token, user=user, reason="unreadable")])
def test_another_persons_claim_cannot_be_touched(act, domain, panel, alice, carol):
    make_batch(panel, domain)
    claim = claim_one(alice)
    with pytest.raises(NotYours):
        act(claim.token, user=carol)
    claim.refresh_from_db()
    assert claim.ended is None


@pytest.mark.parametrize("token", ["nonsense", "00000000-0000-4000-8000-000000000000"])
def test_an_unknown_claim_is_said_to_be_lost(token, alice):
    with pytest.raises(ClaimLost):
        actions.renew_claim(token, user=alice)


def test_an_abandoned_item_goes_to_the_next_person(domain, panel, alice, bob):
    make_batch(panel, domain, lease_seconds=60)
    claim = claim_one(alice)
    later = timezone.now() + timedelta(seconds=61)
    assert [new.item for new in actions.claim_next(user=bob, now=later)] == [claim.item]
    claim.refresh_from_db()
    assert claim.outcome == "expired"


def test_renewing_takes_a_stale_claim_up_again_while_its_item_is_free(domain, panel, alice):
    batch = make_batch(panel, domain)
    claim = claim_one(alice)
    expire(claim)
    assert actions.renew_claim(claim.token, user=alice).ended is None
    assert states(batch) == ["claimed"]


def test_renewing_fails_once_the_item_went_on(domain, panel, alice, bob):
    make_batch(panel, domain)
    claim = claim_one(alice)
    expire(claim)
    claim_one(bob)
    with pytest.raises(ClaimLost, match="still submit"):
        actions.renew_claim(claim.token, user=alice)


def test_renewing_fails_when_the_person_has_another_item_in_hand(domain, panel, alice):
    make_batch(panel, domain, 2)
    claim = claim_one(alice)
    expire(claim)
    Item.objects.filter(pk=claim.item_id).update(position=9)
    assert claim_one(alice).item != claim.item
    with pytest.raises(ClaimLost):
        actions.renew_claim(claim.token, user=alice)
    assert Item.objects.get(pk=claim.item_id).state == "ready"


def test_stale_claims_of_a_closed_batch_do_not_revive_its_items(domain, panel, alice):
    batch = make_batch(panel, domain)
    claim = claim_one(alice)
    actions.close_batch(batch)
    expire(claim)
    assert states(batch) == ["cancelled"]
    assert querysets.is_complete(batch)


def test_a_claim_takes_two_statements_however_many_leases_were_left_behind(domain, panel, alice, bob):
    program = make_program()
    abandoned = make_batch(program, domain, 100)
    actions.claim_next(expert=program, limit=100)
    make_batch(panel, domain, 2)
    later = timezone.now() + timedelta(days=1)
    with CaptureQueriesContext(connection) as queries:
        claim_one(alice, now=later)
    assert len([q for q in queries.captured_queries if "SAVEPOINT" not in q["sql"]]) == 2  # the claim, its texts
    assert states(abandoned).count("ready") == 0  # the sweep ends them


def test_before_the_queue_is_said_to_be_empty_a_few_stale_leases_are_ended(domain, panel, alice, bob):
    batch = make_batch(panel, domain, 1)
    claim_one(alice)
    assert actions.claim_next(user=bob) == []
    later = timezone.now() + timedelta(days=1)
    assert claim_one(bob, now=later).item.batch == batch


def test_what_may_be_claimed_is_what_is_handed_out(domain, panel, alice, bob):
    for _ in range(2):
        make_batch(panel, domain, 3, reviewers=2)
    actions.decline(claim_one(alice).token, user=alice, reason="unreadable")
    submit(claim_one(bob), user=bob)
    expected = set(querysets.claimable_by(user=alice).values_list("pk", flat=True))
    handed = set()
    while claims := actions.claim_next(user=alice):
        handed.add(claims[0].item_id)
        submit(claims[0], user=alice)
    # Of two slots of one rollout a person gets one, so what was claimable at first is what was handed out and the other slots of it.
    rollouts = set(Item.objects.filter(pk__in=handed).values_list("batch", "rollout"))
    assert rollouts == set(Item.objects.filter(pk__in=expected).values_list("batch", "rollout"))
    assert handed <= expected


@pytest.mark.parametrize("seed", range(8))
def test_the_statement_that_claims_and_the_query_for_what_is_claimable_agree(domain, panel, alice, bob, seed):
    """In a queue with everything that decides: names, controls, verdicts, refusals, other people's claims."""
    rng = Random(seed)
    for _ in range(3):
        make_batch(panel, domain, 6, reviewers=rng.choice([1, 2]), repeat_share=rng.choice([0, 0.5]), priority=rng.choice([0, 1]))
    Item.objects.filter(pk__in=rng.sample(list(Item.objects.values_list("pk", flat=True)), 4)).update(reviewer=rng.choice([alice, bob]))
    for _ in range(12):
        for claim in actions.claim_next(user=(user := rng.choice([alice, bob]))):
            act = rng.random()
            if act < 0.6:
                submit(claim, user=user)
            elif act < 0.8:
                actions.decline(claim.token, user=user, reason="unreadable")
            elif act < 0.9:
                actions.release(claim.token, user=user)
    for user in (alice, bob):
        for claim in Claim.objects.filter(user=user, ended=None):
            actions.release(claim.token, user=user)
        claimable = set(querysets.claimable_by(user=user).values_list("pk", flat=True))
        claims = actions.claim_next(user=user)
        if not claims:
            assert not claimable
            continue
        first = min(Item.objects.filter(pk__in=claimable), key=lambda item: (-item.batch.priority, item.batch_id, item.position))
        assert claims[0].item == first


def test_other_domains_do_not_matter_to_the_queue(panel, alice):
    batch = make_batch(panel, make_domain("research"))
    assert claim_one(alice).item.batch == batch


def test_claiming_for_both_or_neither_is_a_mistake(alice):
    with pytest.raises(ValueError, match="either"):
        actions.claim_next()
    with pytest.raises(ValueError, match="either"):
        actions.claim_next(user=alice, expert=make_program())
