"""The strategies on rows, and what asking for a batch records."""

from __future__ import annotations

from random import Random

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation import actions
from annotation.errors import InvalidSelection, NothingToDo
from annotation.models import AuditEntry, Batch, ProxyGrade, Rollout
from annotation.select import choose, choose_feedback, proxy_spreads
from annotation.selection import max_variance, relative_spread
from tests.annotation.makers import claim_one, make_batch, make_domain, make_program, make_rollouts, submit

PROXY = "p" * 64


def grade(rollouts, grades, proxy=PROXY):
    rows = [(pk, i, score) for pk, scores in zip(rollouts, grades, strict=True) for i, score in enumerate(scores)]
    ProxyGrade.objects.bulk_create(ProxyGrade(rollout_id=pk, proxy=proxy, run="r", sample=i, score=score) for pk, i, score in rows)


def test_max_variance_looks_at_the_grades_of_the_proxy_version_that_is_named(domain):
    pool = make_rollouts(domain, 3)
    grade(pool, [[50, 50], [40, 60], [49, 51]])
    grade(pool, [[0, 100], [50, 50], [50, 50]], proxy="another")
    assert choose("max-variance", pool, 2, 7, PROXY) == [pool[1], pool[2]]
    assert choose("max-variance", Rollout.objects.all(), 1, 7, "another") == [pool[0]]


def test_a_seed_gives_one_choice_whatever_the_order_of_the_pool(domain):
    pool = make_rollouts(domain, 20)
    assert choose("random", pool, 5, 7) == choose("random", pool[::-1], 5, 7) == choose("random", Rollout.objects.order_by("-pk"), 5, 7)
    assert choose("random", pool, 5, 7) != choose("random", pool, 5, 8)


def test_for_max_disagreement_the_whole_pool_is_asked(domain):
    pool = make_rollouts(domain, 6)
    assert sorted(choose("max-disagreement", pool, 2, 7, PROXY)) == pool


def test_max_disagreement_chooses_among_the_answers_within_their_groups(domain, panel, alice):
    # group 1: expert 10, 20, 60 (A -20, -10, 30), proxy 40, 50, 60 (A -10, 0, 10): distances 10, 10, 20
    # group 2: expert 50, 50, 50, proxy 0, 0, 90 (A -30, -30, 60): distances 30, 30, 60
    pool = make_rollouts(domain, 6, group=3)
    grade(pool, [[30, 50], [50, None], [60], [0], [0], [90, 90]])
    batch = make_batch(panel, domain, pool)
    rows = [submit(claim_one(alice), user=alice, score=score) for score in (10, 20, 60, 50, 50, 50)]
    chosen = choose_feedback("max-disagreement", batch, 4, 7, PROXY)
    assert chosen[0] == rows[5].pk
    assert set(chosen[1:3]) == {rows[3].pk, rows[4].pk}
    assert chosen[3] == rows[2].pk


def test_only_verdicts_that_stand_and_count_are_learnt_from(domain, panel, alice):
    batch = make_batch(panel, domain, 2)
    first, second = (submit(claim_one(alice), user=alice) for _ in range(2))
    revised = actions.revise_feedback(first, key="r", user=alice, reason="Misread.", critique="Better.", score=5)
    for strategy in ("random", "max-variance", "max-disagreement"):
        assert set(choose_feedback(strategy, batch, 10, 7, PROXY)) == {revised.pk, second.pk}


def test_an_unknown_strategy_is_named(domain, panel):
    with pytest.raises(InvalidSelection, match="'luck'"):
        choose("luck", [], 1, 7)
    with pytest.raises(InvalidSelection, match="'luck'"):
        choose_feedback("luck", make_batch(panel, domain), 1, 7)


def test_a_batch_keeps_the_order_of_its_rollouts_and_how_they_were_selected(domain, panel, alice):
    pool = make_rollouts(domain, 3)
    batch = make_batch(panel, domain, pool[::-1], strategy="max-variance", seed=7, proxy=PROXY, experiment="exp", actor=alice)
    assert list(batch.items.values_list("rollout", flat=True)) == pool[::-1]
    assert (batch.strategy, batch.seed, batch.proxy, batch.lease_seconds) == ("max-variance", 7, PROXY, 300)
    entry = AuditEntry.objects.get(verb="selected")
    assert (entry.actor, entry.target, entry.data["items"]) == (alice, f"batch:{batch.pk}", 3)


def test_asking_twice_under_one_key_makes_one_batch(domain, panel):
    pool = make_rollouts(domain, 2)
    first = make_batch(panel, domain, pool, key="exp/ask-0")
    assert make_batch(panel, domain, pool, key="exp/ask-0") == first
    assert first.items.count() == 2
    assert AuditEntry.objects.filter(verb="selected").count() == 1


def test_a_rollout_that_is_named_twice_is_asked_about_once(domain, panel):
    (pk,) = make_rollouts(domain, 1)
    assert make_batch(panel, domain, [pk, pk]).items.count() == 1


def test_what_cannot_be_asked_is_said_and_no_batch_is_left(domain, panel):
    others = make_rollouts(make_domain("others"), 1)
    for rollouts, options, words in [
        ([], {}, "No rollouts"),
        (others, {}, "not of the domain"),
        ([10**9], {}, "unknown"),
        (1, {"reviewers": 0}, "0 rev"),
    ]:
        with pytest.raises(InvalidSelection, match=words):
            make_batch(panel, domain, rollouts, **options)
    assert not Batch.objects.exists()


def test_a_reward_batch_may_start_empty(domain):
    assert make_batch(make_program(), domain, [], purpose=Batch.Purpose.REWARD).items.count() == 0


def test_closing_twice_changes_nothing_and_says_who(domain, panel, alice):
    batch = make_batch(panel, domain, 2)
    first = actions.close_batch(batch, actor=alice, reason="Enough.")
    assert actions.close_batch(batch).closed == first.closed
    entry = AuditEntry.objects.get(verb="closed")
    assert (entry.actor, entry.data["reason"], entry.data["cancelled"]) == (alice, "Enough.", 2)


def test_an_item_that_waits_already_cannot_be_reopened(domain, panel, alice):
    batch = make_batch(panel, domain)
    with pytest.raises(NothingToDo):
        actions.reopen(batch.items.get(), actor=alice, reason="Why not.")


def test_a_cancelled_item_can_be_asked_again(domain, panel, alice):
    batch = make_batch(panel, domain, 2)
    actions.close_batch(batch)
    item = actions.reopen(batch.items.first(), actor=alice, reason="Needed after all.")
    assert claim_one(alice).item == item


GRADES = st.lists(st.none() | st.just(float("nan")) | st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), max_size=6)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(GRADES, min_size=1, max_size=6), st.integers(0, 3), st.integers(0, 100))
def test_spreads_added_up_by_the_server_are_those_of_the_grades(domain, monkeypatch, grades, n, seed):
    monkeypatch.setattr("annotation.select.AT_ONCE", 2)
    with transaction.atomic():
        pool = make_rollouts(domain, len(grades))
        grade(pool, grades)
        assert proxy_spreads(pool, PROXY) == pytest.approx([relative_spread(row) for row in grades], abs=1e-9, rel=1e-6)
        assert choose("max-variance", pool, n, seed, PROXY) == max_variance(dict(zip(pool, grades, strict=True)), n, Random(seed))
        transaction.set_rollback(True)
