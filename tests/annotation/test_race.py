"""Many at once, on a real PostgreSQL: each item is claimed once, each verdict lands once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Barrier
from typing import Any

import pytest
from django.db import connection

from annotation import actions
from annotation.errors import AnnotationError
from annotation.models import AuditEntry, Batch, Claim, Domain, Feedback, Item
from annotation.tasks import answer_batch
from tests.annotation.makers import claim_one, make_batch, make_domain, make_panel, make_program, make_user, submit

THREADS = 32
MANY = 64

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def at_once(work: Callable[[int], Any], threads: int = THREADS) -> list[Any]:
    """The results of `work(0)`, `work(1)`, ..., all started at the same moment; connections are closed behind them."""
    barrier = Barrier(threads)

    def one(number: int) -> Any:
        try:
            barrier.wait()
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


@pytest.fixture
def domain() -> Domain:
    return make_domain()


def test_32_people_race_for_50_items_and_each_is_answered_once(domain):
    people = [make_user(f"person{i}") for i in range(THREADS)]
    batch = make_batch(make_panel(*people), domain, 50)

    def work(number: int) -> list[int]:
        mine = []
        while claims := actions.claim_next(user=people[number]):
            mine.append(claims[0].item_id)
            for _ in range(2):  # a retry lands nothing new
                submit(claims[0], user=people[number])
        return mine

    done = [item for items in at_once(work) for item in items]
    assert sorted(done) == sorted(Item.objects.filter(batch=batch).values_list("pk", flat=True))
    assert Claim.objects.count() == Feedback.objects.filter(counted=True, current=True).count() == Feedback.objects.count() == 50
    assert AuditEntry.objects.filter(verb="submitted").count() == 50
    assert Batch.objects.get().closed is not None
    assert AuditEntry.objects.filter(verb="completed").count() == 1


@pytest.mark.slow
def test_64_people_race_for_200_items_through_everything_at_once(domain):
    """Some fetch ahead, some decline or give back, all send twice: each item is claimed and answered once."""
    people = [make_user(f"person{i}") for i in range(MANY)]
    batch = make_batch(make_panel(*people), domain, 200)

    def work(number: int) -> int:
        user, rng, done = people[number], Random(number), 0
        while claims := actions.claim_next(user=user):
            if rng.random() < 0.3:
                actions.claim_ahead(claims[0].token, user=user)
            if (chance := rng.random()) < 0.05:
                actions.decline(claims[0].token, user=user, reason="expertise")
                continue
            if chance < 0.1:
                actions.release(claims[0].token, user=user)
                continue
            rows = {submit(claims[0], user=user).pk for _ in range(2)}
            assert len(rows) == 1
            done += 1
        return done

    assert sum(at_once(work, MANY)) == 200
    assert Feedback.objects.filter(counted=True, current=True).count() == Feedback.objects.count() == 200
    assert set(Item.objects.filter(batch=batch).values_list("state", flat=True)) == {"done"}
    assert not Claim.objects.filter(ended=None).exists()


def test_three_reviewers_per_item_are_three_distinct_people(domain):
    people = [make_user(f"person{i}") for i in range(16)]
    batch = make_batch(make_panel(*people), domain, 20, reviewers=3)

    def work(number: int) -> None:
        while claims := actions.claim_next(user=people[number]):
            submit(claims[0], user=people[number])

    at_once(work, 16)
    by_rollout: dict[int, list[int | None]] = {}
    for rollout, author in Feedback.objects.filter(item__batch=batch).values_list("item__rollout", "author"):
        by_rollout.setdefault(rollout, []).append(author)
    assert len(by_rollout) == 20
    assert all(len(authors) == len(set(authors)) == 3 for authors in by_rollout.values())


def test_32_workers_of_one_program_race_for_50_items_and_each_is_claimed_once(domain):
    program = make_program()
    batch = make_batch(program, domain, 50)
    claimed = [claim.item_id for claims in at_once(lambda _: actions.claim_next(expert=program, limit=3)) for claim in claims]
    assert len(claimed) == len(set(claimed)) == 50
    assert set(Item.objects.filter(batch=batch).values_list("state", flat=True)) == {"claimed"}


def test_32_submits_of_one_verdict_land_once_and_all_get_it(domain):
    alice = make_user("alice")
    make_batch(make_panel(alice), domain)
    claim = claim_one(alice)
    rows = at_once(lambda _: submit(claim, user=alice, key="k"))
    assert {row.pk for row in rows} == {Feedback.objects.get().pk}


def test_of_different_keys_at_once_one_lands(domain):
    alice = make_user("alice")
    make_batch(make_panel(alice), domain)
    claim = claim_one(alice)

    def work(number: int) -> bool:
        try:
            submit(claim, user=alice, key=f"k{number}")
        except AnnotationError:
            return False
        return True

    assert at_once(work, 8).count(True) == 1 == Feedback.objects.count()


def test_one_person_in_many_windows_gets_one_item(domain):
    alice = make_user("alice")
    make_batch(make_panel(alice), domain, 20)
    tokens = {claims[0].token for claims in at_once(lambda _: actions.claim_next(user=alice), 8)}
    assert len(tokens) == 1 == Claim.objects.count()


def test_a_batch_asked_for_by_many_at_once_is_one_batch(domain):
    program = make_program()
    rollouts = list(make_batch(program, domain, 5).items.values_list("rollout", flat=True))
    batches = at_once(lambda _: make_batch(program, domain, rollouts, key="same"), 8)
    assert len({batch.pk for batch in batches}) == 1
    assert Item.objects.filter(batch__key="same").count() == 5


def test_closing_expiring_releasing_and_submitting_at_once_leave_every_item_in_one_clear_state(domain):
    program = make_program()
    batch = make_batch(program, domain, 60, lease_seconds=0)
    claims = actions.claim_next(expert=program, limit=60)

    def work(number: int) -> None:
        kind = number % 4
        if kind == 0:
            actions.expire_claims()
        elif kind == 1:
            actions.release_many([claim.token for claim in claims[:30]])
        elif kind == 2:
            for claim in claims[number % 5 :: 5]:
                submit(claim)
        elif number == 15:
            actions.close_batch(batch)
        else:
            actions.claim_next(expert=program, limit=5)

    at_once(work, 16)
    actions.close_batch(batch)
    for item in Item.objects.filter(batch=batch):
        assert item.state in ("done", "cancelled")
        assert item.feedback.filter(counted=True).count() == (item.state == "done")


def test_two_tasks_at_once_answer_each_item_of_a_batch_once(domain):
    batch = make_batch(make_program(), domain, 200)
    answered = at_once(lambda _: answer_batch(batch.pk), 4)
    assert sum(answered) == 200 == Feedback.objects.filter(counted=True).count() == Feedback.objects.count()
    assert answer_batch(batch.pk) == 0
