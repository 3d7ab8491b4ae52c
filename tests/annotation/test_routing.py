"""An expert that stands for several: who is asked about which text, and whose verdict stands."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from annotation import actions, querysets, routing
from annotation.errors import InvalidSelection
from annotation.models import Charge, Expert, Item
from annotation.routing import AUDIT_SLOT, Rule
from annotation.tasks import answer_batch, sweep
from tests.annotation.makers import claim_one, make_batch, make_panel, make_program, make_user, submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def panel(alice):
    return make_panel(alice)


@pytest.fixture
def program(experts):
    return make_program()


def mixed(**rule) -> Expert:
    return Expert.objects.create(alias="mixed", name="Mixed", kind=Expert.Kind.MIXED, options=rule)


def asked(batch, expert) -> int:
    return batch.items.filter(expert=expert, control="").count()


class TestAudit:
    @pytest.fixture
    def expert(self, program, panel):
        return mixed(rule="audit", first="program", then="panel", share=0.25)

    def test_all_go_to_the_first_and_a_share_to_the_second_too(self, expert, program, panel, domain):
        batch = make_batch(expert, domain, 8, seed=3)
        assert (asked(batch, program), asked(batch, panel)) == (8, 2)
        assert set(batch.experts.all()) == {program, panel}

    def test_the_verdict_of_who_audits_stands(self, expert, program, panel, domain, alice):
        batch = make_batch(expert, domain, 8)
        assert answer_batch(batch.pk) == 8
        assert batch.closed is None
        audited = [submit(claim_one(alice), user=alice, score=99) for _ in range(2)]
        batch.refresh_from_db()
        assert batch.closed is not None
        standing = list(querysets.verdicts(batch))
        assert len(standing) == 8
        assert {row.pk for row in audited} <= {row.pk for row in standing}
        assert sum(row.expert == program for row in standing) == 6
        assert [row.expert for row in audited] == [panel, panel]
        assert Charge.objects.filter(expert=program).count() == 8
        assert Charge.objects.filter(expert=panel, user=alice).count() == 2

    def test_the_same_seed_audits_the_same_texts(self, expert):
        rule = routing.rule_of(expert)
        texts = list(range(40))
        assert rule.ask(texts, 1, Random("a")) == rule.ask(texts, 1, Random("a"))
        assert rule.ask(texts, 1, Random("a")) != rule.ask(texts, 1, Random("b"))


class TestFallback:
    @pytest.fixture
    def expert(self, program, panel):
        return mixed(rule="fallback", first="panel", then="program", hours=1)

    def test_people_come_first(self, expert, program, panel, domain, alice):
        batch = make_batch(expert, domain, 3)
        assert (asked(batch, panel), asked(batch, program)) == (3, 0)
        assert answer_batch(batch.pk) == 0
        assert submit(claim_one(alice), user=alice).expert == panel

    def test_what_everybody_declined_goes_to_who_steps_in(self, expert, program, domain, alice):
        batch = make_batch(expert, domain, 3)
        claim = claim_one(alice)
        actions.decline(claim.token, user=alice, reason="conflict")
        assert actions.reroute(timezone.now()) == 1
        assert Item.objects.get(expert=program) == claim.item
        assert answer_batch(batch.pk) == 1

    def test_with_a_colleague_left_a_declined_text_stays_with_people(self, expert, panel, program, domain, alice):
        panel.members.add(make_user("bob"))
        make_batch(expert, domain, 3)
        actions.decline(claim_one(alice).token, user=alice, reason="conflict")
        assert actions.reroute(timezone.now()) == 0

    def test_at_the_deadline_all_that_nobody_has_in_hand_goes_on(self, expert, program, panel, domain, alice):
        batch = make_batch(expert, domain, 3)
        claim = claim_one(alice)
        batch.deadline = timezone.now() - timedelta(minutes=1)
        batch.save()
        sweep()
        assert (asked(batch, panel), asked(batch, program)) == (1, 2)
        answer_batch(batch.pk)
        assert submit(claim, user=alice).counted
        batch.refresh_from_db()
        assert batch.closed is not None

    def test_a_rule_that_works_no_more_keeps_nothing_else_from_being_swept(self, expert, program, panel, domain, alice):
        left = make_batch(expert, domain, 1)
        actions.decline(claim_one(alice).token, user=alice, reason="conflict")
        program.active = False
        program.save()
        other = make_batch(make_program("other"), domain, 1)
        other.items.update(state=Item.State.DONE)
        assert sweep()["closed"] == 1
        assert asked(left, panel) == 1

    def test_a_rule_that_names_somebody_else_by_now_goes_there(self, expert, domain, alice):
        batch = make_batch(expert, domain, 1)
        actions.decline(claim_one(alice).token, user=alice, reason="conflict")
        newcomer = make_program("newcomer")
        expert.options |= {"then": "newcomer"}
        expert.save()
        assert actions.reroute(timezone.now()) == 1
        assert answer_batch(batch.pk) == 1
        assert newcomer.feedback.count() == 1


class TestAverage:
    def test_every_text_goes_to_each(self, program, panel, domain, alice):
        expert = mixed(rule="average", experts=["program", "program", "panel"])
        batch = make_batch(expert, domain, 4)
        assert (asked(batch, program), asked(batch, panel)) == (8, 4)
        assert answer_batch(batch.pk) == 8
        for _ in range(4):
            submit(claim_one(alice), user=alice)
        batch.refresh_from_db()
        assert batch.closed is not None
        assert querysets.verdicts(batch).count() == 12
        assert routing.rule_of(expert).verdicts_per_text == 3


@given(st.integers(1, 60), st.integers(0, 100))
def test_an_audit_asks_for_its_share_whatever_the_number(texts, percent):
    share = percent / 100
    rule = Rule("audit", (Expert(pk=1), Expert(pk=2)), share=share)
    items = rule.ask(list(range(texts)), 1, Random(0))
    audits = [item for item in items if item.slot == AUDIT_SLOT]
    assert len(audits) == round(share * texts)
    assert len({(item.rollout, item.slot) for item in items}) == len(items) == texts + len(audits)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs a rule"),
        ({"rule": "luck"}, "needs a rule"),
        ({"rule": "audit", "first": "program", "then": "panel"}, "see to share"),
        ({"rule": "audit", "first": "program", "then": "panel", "share": 2}, "share is a number"),
        ({"rule": "audit", "first": "program", "then": "panel", "share": True}, "share is a number"),
        ({"rule": "audit", "first": "program", "then": "program", "share": 0.5}, "two different"),
        ({"rule": "audit", "first": "program", "then": "nobody", "share": 0.5}, "no expert nobody"),
        ({"rule": "audit", "first": "program", "then": "panel", "share": 0.5, "hours": 3}, "see to hours"),
        ({"rule": "fallback", "first": "program", "then": "panel", "hours": 3}, "asks people first"),
        ({"rule": "average", "experts": ["program"]}, "two experts or more"),
        ({"rule": "average", "experts": "program"}, "two experts or more"),
        ({"rule": "average", "experts": ["program", "mixed"]}, "stands for several"),
    ],
)
def test_a_rule_that_does_not_work_is_refused_in_words(program, panel, options, words):
    mixed(rule="average", experts=["program", "panel"])
    with pytest.raises(InvalidSelection, match=words):
        routing.read(options)


def test_reviewers_are_the_rules_affair(program, panel, domain):
    with pytest.raises(InvalidSelection, match="its rule says"):
        make_batch(mixed(rule="average", experts=["program", "panel"]), domain, 2, reviewers=2)
