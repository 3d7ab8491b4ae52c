"""Budgets: nobody is asked beyond a hard one, reservations come back, and the ledger says what was spent."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from annotation import actions, costs
from annotation.actions import budgets, ledger
from annotation.actions.batches import close_complete
from annotation.errors import InvalidBudget
from annotation.models import AuditEntry, Batch, Budget, Charge, Claim, Expert, Feedback, Item, Price
from annotation.tasks import answer_batch
from grading.types import Usage
from tests.annotation.makers import WORDS, claim_one, expire, make_batch, make_program, make_rollouts, submit

pytestmark = pytest.mark.django_db


def fresh(row: Any) -> Any:
    row.refresh_from_db()
    return row


class TestSamples:
    def test_a_claim_holds_one_and_a_verdict_spends_it(self, panel, domain, alice):
        make_batch(panel, domain, 3)
        budget = actions.set_budget(unit="samples", limit=2, expert=panel)
        claim = claim_one(alice)
        assert (fresh(budget).spent, budgets.held(budget)) == (0, 1)
        submit(claim, user=alice)
        assert (fresh(budget).spent, budgets.held(budget)) == (1, 0)
        assert not ledger.mismatched()

    def test_nobody_gets_a_text_that_cannot_be_paid(self, panel, domain, alice, bob):
        make_batch(panel, domain, 3)
        actions.set_budget(unit="samples", limit=1, expert=panel)
        claim = claim_one(alice)
        assert actions.claim_next(user=bob) == []
        assert Claim.objects.count() == 1
        assert not Item.objects.filter(state=Item.State.CLAIMED).exclude(pk=claim.item_id).exists()

    @pytest.mark.parametrize("back", ["declined", "released", "expired"])
    def test_what_was_held_comes_back(self, panel, domain, alice, bob, back):
        make_batch(panel, domain, 3)
        budget = actions.set_budget(unit="samples", limit=1, expert=panel)
        claim = claim_one(alice)
        if back == "declined":
            actions.decline(claim.token, user=alice, reason="conflict")
        elif back == "released":
            actions.release(claim.token, user=alice)
        else:
            expire(claim)
        assert budgets.held(budget) == 0
        assert len(actions.claim_next(user=bob)) == 1

    def test_when_it_is_used_up_the_batch_ends_early_with_what_there_is(self, panel, domain, alice):
        batch = make_batch(panel, domain, 3)
        actions.set_budget(unit="samples", limit=2, expert=panel)
        for _ in range(2):
            submit(claim_one(alice), user=alice)
        assert actions.end_exhausted() == 1
        assert fresh(batch).closed is not None
        assert Item.objects.filter(state=Item.State.CANCELLED).count() == 1
        assert "used up" in AuditEntry.objects.get(verb="ended early").data["reason"]

    def test_it_does_not_end_while_somebody_writes(self, panel, domain, alice, bob):
        batch = make_batch(panel, domain, 3)
        actions.set_budget(unit="samples", limit=2, expert=panel)
        submit(claim_one(alice), user=alice)
        claim = claim_one(bob)
        assert actions.end_exhausted() == 0
        submit(claim, user=bob)
        actions.end_exhausted()
        close_complete([batch])
        assert Feedback.objects.filter(counted=True).count() == 2

    def test_a_limit_that_is_raised_holds_at_once(self, panel, domain, alice):
        make_batch(panel, domain, 3)
        actions.set_budget(unit="samples", limit=1, expert=panel)
        submit(claim_one(alice), user=alice)
        assert actions.claim_next(user=alice) == []
        budget = actions.set_budget(unit="samples", limit=2, expert=panel, actor=alice)
        assert len(actions.claim_next(user=alice)) == 1
        entry = AuditEntry.objects.filter(verb="limited").first()
        assert (entry.actor, entry.data["before"]["limit"], entry.data["limit"]) == (alice, "1.000000", "2")
        assert Budget.objects.get() == budget

    def test_one_of_a_person_stops_nobody_else(self, panel, domain, alice, bob):
        batch = make_batch(panel, domain, 4)
        actions.set_budget(unit="samples", limit=1, user=alice)
        submit(claim_one(alice), user=alice)
        assert actions.claim_next(user=alice) == []
        assert len(actions.claim_next(user=bob)) == 1
        assert actions.end_exhausted() == 0
        assert fresh(batch).closed is None

    def test_one_of_an_experiment_lets_others_go_on(self, panel, domain, alice):
        make_batch(panel, domain, 2, experiment="first", priority=1)
        other = make_batch(panel, domain, 2, experiment="second")
        actions.set_budget(unit="samples", limit=1, experiment="first")
        submit(claim_one(alice), user=alice)
        assert claim_one(alice).item.batch == other

    def test_a_full_batch_is_passed_over_for_one_with_room(self, panel, domain, alice, bob):
        make_batch(panel, domain, 2, experiment="first", priority=1)
        other = make_batch(panel, domain, 2, experiment="second")
        actions.set_budget(unit="samples", limit=1, experiment="first")
        claim_one(alice)  # holds all of it
        assert claim_one(bob).item.batch == other

    def test_a_soft_one_only_warns(self, panel, domain, alice):
        make_batch(panel, domain, 3)
        budget = actions.set_budget(unit="samples", limit=1, expert=panel, hard=False)
        for _ in range(2):
            submit(claim_one(alice), user=alice)
        assert actions.note_reached(timezone.now()) == 1
        assert actions.note_reached(timezone.now()) == 0
        assert fresh(budget).warned is not None
        assert AuditEntry.objects.filter(verb="limit reached").count() == 1
        assert len(actions.claim_next(user=alice)) == 1

    def test_a_late_verdict_counts_only_where_there_is_room(self, panel, domain, alice, bob):
        make_batch(panel, domain, 3)
        budget = actions.set_budget(unit="samples", limit=1, expert=panel)
        late = claim_one(alice)
        expire(late)
        submit(claim_one(bob), user=bob)
        written = submit(late, user=alice)
        assert (written.counted, written.critique) == (False, WORDS)
        assert fresh(budget).spent == 1
        assert Charge.objects.count() == 1

    def test_a_lease_that_ran_out_is_taken_up_again_only_where_there_is_room(self, panel, domain, alice, bob):
        make_batch(panel, domain, 3)
        actions.set_budget(unit="samples", limit=1, expert=panel)
        late = claim_one(alice)
        expire(late)
        claim_one(bob)
        with pytest.raises(Exception, match="went on to somebody else"):
            actions.renew_claim(late.token, user=alice)

    def test_a_revision_costs_nothing_more(self, panel, domain, alice):
        make_batch(panel, domain, 3)
        budget = actions.set_budget(unit="samples", limit=5, expert=panel)
        first = submit(claim_one(alice), user=alice)
        actions.revise_feedback(first, key="again", user=alice, reason="A slip.", critique=WORDS, score=40)
        assert (fresh(budget).spent, Charge.objects.count()) == (1, 1)

    def test_an_ended_one_limits_nothing(self, panel, domain, alice):
        make_batch(panel, domain, 3)
        budget = actions.set_budget(unit="samples", limit=0, expert=panel)
        assert actions.claim_next(user=alice) == []
        actions.end_budget(budget, actor=alice)
        assert len(actions.claim_next(user=alice)) == 1


class TestMoney:
    @pytest.fixture
    def paid(self, panel):
        Price.objects.create(name="hourly", since=date(2026, 1, 1), per_minute=Decimal("0.5"), per_verdict=Decimal("2"))
        panel.price = "hourly"
        panel.save()
        return panel

    def test_a_person_is_paid_by_the_text_and_the_minute(self, paid, domain, alice):
        make_batch(paid, domain, 1)
        claim = claim_one(alice)
        Claim.objects.filter(pk=claim.pk).update(opened=timezone.now() - timedelta(minutes=4))
        submit(claim, user=alice)
        charge = Charge.objects.get()
        assert charge.money == 4
        assert charge.minutes == 4
        assert charge.price.name == "hourly"

    def test_a_claim_holds_what_it_costs_as_a_rule(self, paid, domain, alice, bob):
        make_batch(paid, domain, 3)
        usual = costs.expected(paid, domain, timezone.now()).cost
        budget = actions.set_budget(unit="money", limit=usual.money * 2 - Decimal("0.01"), expert=paid)
        claim = claim_one(alice)
        assert claim.held_money == usual.money
        assert actions.claim_next(user=bob) == []
        assert fresh(budget).short is None  # what alice holds may come back

    def test_what_is_left_is_too_little_for_one_more(self, paid, domain, alice):
        batch = make_batch(paid, domain, 3)
        budget = actions.set_budget(unit="money", limit=Decimal("0.01"), expert=paid)
        assert actions.claim_next(user=alice) == []
        assert fresh(budget).short is not None
        actions.end_exhausted()
        assert fresh(batch).closed is not None

    def test_a_new_price_holds_from_its_day_on(self, paid):
        Price.objects.create(name="hourly", since=date(2026, 6, 1), per_verdict=Decimal("3"))
        assert costs.price_of(paid, date(2026, 5, 31)).per_verdict == 2
        assert costs.price_of(paid, date(2026, 6, 1)).per_verdict == 3
        assert costs.price_of(paid, date(2025, 6, 1)) is None

    def test_tokens_have_four_prices_and_batches_a_discount(self):
        price = Price(input=4, output=20, cache_read=Decimal("0.4"), cache_write=5, batch_discount=Decimal("0.5"))
        usage = {"input_tokens": 1000, "output_tokens": 2000, "cache_read_tokens": 10_000, "cache_write_tokens": 100}
        whole = costs.cost(price, usage)
        assert whole.money == Decimal("0.0485")  # 0.004 + 0.04 + 0.004 + 0.0005
        assert whole.tokens == 13_100
        assert costs.cost(price, usage | {"batch": True}).money == Decimal("0.02425")

    def test_small_amounts_are_rounded_up(self):
        assert costs.cost(Price(input=Decimal("0.1")), {"input_tokens": 1}).money == Decimal("0.000001")


class TestEstimates:
    """Before anything was charged they rest on what the expert's options say."""

    @pytest.fixture
    def opus(self, settings):
        Price.objects.create(name="opus", since=date(2026, 1, 1), input=4, output=20, batch_discount=Decimal("0.5"))
        model = {"backend": "grading.models.anthropic.AnthropicModel", "options": {"model": "claude-opus-5-5", "batch": True}}
        settings.EXPERTS = settings.EXPERTS | {"opus": {"BACKEND": "grading.graders.Grader", "OPTIONS": {"prompts": ["p" * 1000], "model": model}}}
        return make_program("opus", "opus", kind=Expert.Kind.LLM, price="opus")

    def test_batches_are_half_price_and_said_to_be(self, opus, domain):
        found = costs.expected(opus, domain, timezone.now())
        assert found.basis.endswith("written for each, by batch")
        opus.options = {"model": {"backend": "grading.models.anthropic.AnthropicModel", "options": {"model": "claude-opus-5-5"}}}
        single = costs.expected(opus, domain, timezone.now())
        assert "batch" not in single.basis
        assert single.cost.money == pytest.approx(2 * found.cost.money, abs=Decimal("0.00001"))

    def test_every_prompt_and_every_sample_is_read_and_written(self, opus, domain):
        one = costs.expected(opus, domain, timezone.now()).cost
        opus.options = {"prompts": ["p" * 1000, "q" * 1000], "n": 3}
        assert costs.expected(opus, domain, timezone.now()).cost.tokens == pytest.approx(6 * one.tokens, abs=6)

    def test_after_ten_verdicts_they_rest_on_what_those_cost(self, panel, domain, alice):
        make_batch(panel, domain, 10)
        for _ in range(10):
            claim = claim_one(alice)
            Claim.objects.filter(pk=claim.pk).update(opened=timezone.now() - timedelta(minutes=6))
            submit(claim, user=alice)
        found = costs.expected(panel, domain, timezone.now())
        assert (found.cost.minutes, found.basis) == (6, "the mean of the last 10 verdicts of Panel in Stories")

    def test_they_say_what_it_comes_to_and_what_was_assumed(self, opus, domain):
        found = costs.estimate(opus, domain, 1500, timezone.now())
        assert found["words"].startswith("about $")
        assert found["assumptions"][0].startswith("Opus: 1,500 verdicts at the price “opus”; ")


class TestPrograms:
    def test_it_answers_what_the_budget_allows_and_the_batch_ends(self, experts, domain):
        program = make_program()
        budget = actions.set_budget(unit="samples", limit=5, expert=program)
        batch = make_batch(program, domain, 8)
        assert answer_batch(batch.pk) == 5
        assert fresh(budget).spent == 5
        assert fresh(batch).closed is not None
        assert not ledger.mismatched()

    def test_reward_verdicts_are_charged_and_reserved(self, domain):
        program = make_program()
        budget = actions.set_budget(unit="samples", limit=10, expert=program)
        ids = make_rollouts(domain, 6)
        batch = make_batch(program, domain, [], purpose=Batch.Purpose.REWARD)
        assert actions.hold_rewards(batch, 8, costs.Cost()) == 8
        assert actions.hold_rewards(batch, 8, costs.Cost()) == 8  # asked again it is the same
        assert budgets.held(budget) == 8
        rows = [{"rollout": pk, "score": 50.0, "critique": "Fine."} for pk in ids]
        assert actions.record_reward_verdicts(batch, rows) == 6
        assert actions.record_reward_verdicts(batch, rows) == 0
        assert (fresh(budget).spent, budgets.held(budget)) == (6, 2)
        other = make_batch(program, domain, [], purpose=Batch.Purpose.REWARD)
        assert actions.hold_rewards(other, 8, costs.Cost()) == 2
        actions.close_batch(batch)
        assert budgets.held(budget) == 2
        assert not ledger.mismatched()

    def test_the_most_that_a_verdict_can_cost_is_never_less_than_it_does(self):
        class Dear:
            def most(self, case):
                return Usage(input_tokens=1000, output_tokens=500)

        price = Price(input=4, output=20, cache_write=5)
        found = costs.most(price, Dear(), None)
        assert found.money == Decimal("0.015")
        assert costs.most(price, object(), None) is None


class TestTheLedger:
    def test_it_is_never_edited(self, panel, domain, alice):
        make_batch(panel, domain, 1)
        submit(claim_one(alice), user=alice)
        Price.objects.create(name="a model", since=date(2026, 1, 1))
        for change in (lambda: Charge.objects.update(money=0), lambda: Charge.objects.all().delete(), lambda: Price.objects.update(input=0)):
            with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
                change()

    def test_a_verdict_is_charged_once(self, panel, domain, alice):
        make_batch(panel, domain, 1)
        claim = claim_one(alice)
        for _ in range(3):
            submit(claim, user=alice, key="the same")
        assert Charge.objects.count() == 1

    def test_an_extra_verdict_of_a_person_is_not_paid(self, panel, domain, alice, bob):
        make_batch(panel, domain, 1)
        late = claim_one(alice)
        expire(late)
        submit(claim_one(bob), user=bob)
        assert not submit(late, user=alice).counted
        assert Charge.objects.count() == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"unit": "apples"}, "unit"), ({"limit": -1}, "limit"), ({"limit": "many"}, "limit"), ({"limit": "nan"}, "limit"), ({"limit": "1.5"}, "limit")],
)
def test_a_limit_that_makes_no_sense_is_refused_in_words(wrong, field):
    with pytest.raises(InvalidBudget) as caught:
        actions.set_budget(**{"unit": "samples", "limit": 1} | wrong)
    assert set(caught.value.errors) == {field}
