"""Many processes spend one budget: never more than there is, never less than could be."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from django.db.models import Sum

from annotation import actions
from annotation.actions import budgets, ledger
from annotation.costs import Cost
from annotation.models import Budget, Charge, Claim, Feedback, Item
from tests.annotation.makers import WORDS, make_batch, make_domain, make_panel, make_program, make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
PROCESSES = 16
LIMIT = 1000


def together(work: Any, count: int = PROCESSES) -> list[int]:
    """`work(number)` in so many processes at once; their exit codes. Each opens a connection of its own."""
    connections.close_all()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    return [process.exitcode for process in processes]


def answer_all(expert_id: int, chunk: int) -> None:
    from annotation.models import Expert

    expert = Expert.objects.get(pk=expert_id)
    patience = 20
    while patience:
        claims = actions.claim_next(expert=expert, limit=chunk)
        if not claims:  # others may hold what is left, and give it back
            patience -= 1
            time.sleep(0.05)
            continue
        given, back = claims[: chunk - 1] or claims, claims[chunk - 1 :] if len(claims) > 1 else []
        actions.submit_many([actions.Answer(claim.token, f"claim-{claim.token}", WORDS, score=50) for claim in given])
        actions.release_many([claim.token for claim in back])


def test_16_processes_spend_a_budget_of_1000_to_the_last_verdict() -> None:
    program = make_program()
    make_batch(program, make_domain(), 1500)
    actions.set_budget(unit="samples", limit=LIMIT, expert=program)
    actions.set_budget(unit="samples", limit=LIMIT + 200)  # one more, of everything: two are locked each time
    assert together(lambda number: answer_all(program.pk, 3 + number % 5)) == [0] * PROCESSES
    assert Feedback.objects.filter(counted=True).count() == Charge.objects.count() == LIMIT
    assert {int(budget.spent) for budget in Budget.objects.all()} == {LIMIT}
    assert [budgets.held(budget) for budget in Budget.objects.all()] == [0, 0]
    assert not ledger.mismatched()
    assert Item.objects.filter(state=Item.State.READY).count() == 500


def test_people_never_go_over_it_either() -> None:
    people = [make_user(f"person{number}") for number in range(PROCESSES)]
    panel = make_panel(*people)
    make_batch(panel, make_domain(), 300)
    actions.set_budget(unit="samples", limit=150, expert=panel)

    def review(number: int) -> None:
        user, patience = people[number], 10
        while patience:
            claims = actions.claim_next(user=user)
            if not claims:
                patience -= 1
                time.sleep(0.05)
            elif number % 4 == 3:
                actions.decline(claims[0].token, user=user, reason="conflict")
            else:
                actions.submit_feedback(claims[0].token, key=str(claims[0].token), critique=WORDS, score=5, user=user)

    assert together(review) == [0] * PROCESSES
    assert Feedback.objects.filter(counted=True).count() == 150
    assert not ledger.mismatched()


def test_money_is_never_overspent_where_the_most_is_known() -> None:
    """Each verdict costs up to 3 cents, most of them less: what was not used is there for the next."""
    program = make_program()
    make_batch(program, make_domain(), 400)
    limit = Decimal("5.00")
    actions.set_budget(unit="money", limit=limit, expert=program)

    def spend(number: int) -> None:
        while claims := actions.claim_next(expert=program, limit=3, most=lambda claim: Cost(Decimal("0.03"))):
            with connections["default"].cursor() as cursor:  # what a priced model would have used
                for claim in claims:
                    assert claim.held_money == Decimal("0.03")
                    cursor.execute("SELECT pg_sleep(0.002)")
            actions.submit_many([actions.Answer(c.token, f"claim-{c.token}", WORDS, score=50, usage={"output_tokens": 500}) for c in claims])

    from annotation.models import Price

    Price.objects.create(name="model", since="2026-01-01", output=50)  # 2.5 cents for 500 tokens
    type(program).objects.filter(pk=program.pk).update(price="model")
    program.refresh_from_db()
    assert together(spend) == [0] * PROCESSES
    spent = Charge.objects.aggregate(sum=Sum("money"))["sum"]
    assert limit - Decimal("0.03") < spent <= limit
    assert not ledger.mismatched()


def test_what_a_killed_process_held_comes_back() -> None:
    program = make_program()
    make_batch(program, make_domain(), 40, lease_seconds=1)
    budget = actions.set_budget(unit="samples", limit=20, expert=program)

    def hold_and_die(number: int) -> None:
        actions.claim_next(expert=program, limit=10)
        os.kill(os.getpid(), signal.SIGKILL)

    assert together(hold_and_die, 2) == [-signal.SIGKILL] * 2
    assert budgets.held(budget) == 20
    assert actions.claim_next(expert=program, limit=10) == []
    time.sleep(1.1)
    actions.expire_claims()
    assert budgets.held(budget) == 0
    assert len(actions.claim_next(expert=program, limit=10)) == 10
    assert Claim.objects.filter(ended=None).count() == 10
