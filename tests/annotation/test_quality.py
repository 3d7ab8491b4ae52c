"""What is measured about raters, from real verdicts: the arithmetic stands beside each number."""

from __future__ import annotations

from datetime import timedelta
from math import sqrt
from uuid import uuid4

import pytest
from django.utils import timezone

from annotation import actions, quality
from annotation.models import Batch, Claim, Feedback, Gold, Item, Rollout
from annotation.tasks import answer
from tests.annotation.makers import FairJudge, claim_one, make_batch, make_domain, make_panel, make_program, make_rollouts, make_user, submit

START = timezone.now() - timedelta(days=1)


def say(user, rollouts, scores, *, close=True, seconds=60, purpose="update", **fields):
    """A batch of its own in which `user` gives these scores to these rollouts, as finished verdicts."""
    expert = make_panel(user, alias=f"panel-{uuid4()}") if user else fields.pop("expert")
    domain = Rollout.objects.get(pk=rollouts[0]).prompt.domain
    batch = Batch.objects.create(
        domain=domain, expert=expert, key=str(uuid4()), title="A batch", purpose=purpose, closed=timezone.now() if close else None
    )
    rows = []
    for position, (rollout, score) in enumerate(zip(rollouts, scores, strict=True)):
        item = Item.objects.create(batch=batch, expert=batch.expert, rollout_id=rollout, position=position, state="done")
        at = START + timedelta(minutes=Feedback.objects.count())
        values = {"started": at - timedelta(seconds=seconds), "submitted": at, "critique": "x"} | fields
        rows.append(Feedback.objects.create(item=item, expert=expert, author=user, key=str(uuid4()), score=score, **values))
    return rows


def gold(rollouts, score, *, since=START - timedelta(days=1)):
    for rollout in rollouts:
        Gold.objects.create(rollout_id=rollout, score=score, created=since)


def measures(domain, name):
    return next(rater for rater in quality.table(domain).raters if rater.name == name)


def test_spread_is_that_of_ones_own_verdicts_on_the_same_text(domain, alice, bob):
    texts = make_rollouts(domain, 3)
    say(alice, texts, [50, 60, 70])
    say(alice, texts[:2], [54, 60])
    say(bob, texts, [0, 0, 0])  # somebody else's are no repeats
    # squares within the two repeated texts: (4^2 / 2) + 0, over 1 + 1 degrees of freedom
    spread = measures(domain, "alice").spread
    assert spread.value == pytest.approx(sqrt(8 / 2))
    assert (spread.samples, measures(domain, "alice").repeats_missing) == (2, 3)


def test_only_first_revisions_written_before_comparing_are_measured_and_all_are_counted(domain, alice):
    texts = make_rollouts(domain, 4)
    (first, *_) = say(alice, texts[:2], [50, 60])
    say(alice, texts[2:3], [0], assisted=True)
    say(alice, texts[3:], [None])
    actions.revise_feedback(first, key="later", user=alice, reason="I was wrong", critique="x", score=90)
    found = measures(domain, "alice")
    assert (found.verdicts, found.assisted.count, found.assisted.value) == (4, 1, 0.25)
    assert found.texts == pytest.approx(sqrt(50))  # of 50 and 60 alone: ((5^2 + 5^2) / 1)^(1/2)


def test_error_on_gold_counts_only_what_came_after_the_text_was_gold(domain, alice):
    texts = make_rollouts(domain, 4)
    gold(texts[:3], 50)
    gold(texts[3:], 0, since=timezone.now())
    say(alice, texts, [56, 48, 52, 90])
    found = measures(domain, "alice")
    # +6 -2 +2: mean 2; without signs 10/3
    assert (found.bias.value, found.error.value) == (pytest.approx(2), pytest.approx(10 / 3))
    assert found.bias.samples == found.error.samples == 3


def test_drift_is_held_against_gold_or_else_against_the_others(domain, alice, bob):
    texts = make_rollouts(domain, 10)
    carol = make_user("carol")
    say(bob, texts[:9], [40] * 9)
    say(carol, texts[:9], [60] * 9)
    gold(texts[:1], 50)
    # With every verdict one point more above 50, which is the gold and the mean of 40 and 60; nobody knows anything of the tenth text.
    say(alice, texts, [50 + i for i in range(9)] + [0])
    found = measures(domain, "alice").drift
    assert (found.value, found.samples, found.left_out) == (pytest.approx(100), 9, 1)


def test_time_is_of_people_from_opening_to_submitting(domain, alice, experts):
    texts = make_rollouts(domain, 3)
    for text, seconds in zip(texts, (60, 120, 600), strict=True):
        say(alice, [text], [50], seconds=seconds)
    answer(make_batch(make_program(), domain, texts), FairJudge())
    assert measures(domain, "alice").seconds == (90, 120, 360)  # quartiles of three: half way between neighbours
    assert measures(domain, "Program").seconds is None


def test_people_and_programs_stand_in_one_table(domain, alice, experts):
    texts = make_rollouts(domain, 4)
    program, llm = make_program(), make_program("llm", kind="llm")
    for expert in (program, llm):
        answer(make_batch(expert, domain, texts), FairJudge())
    say(alice, texts[:2], [10, 20])
    found = quality.table(domain)
    seen = [(rater.name, rater.kind, rater.verdicts) for rater in found.raters]
    assert seen == [("alice", "human", 2), ("Llm", "llm", 4), ("Program", "program", 4)]
    assert (found.alpha.samples, found.icc.samples) == (4, 4)
    # Alice's own agreement rests on the texts that she judged.
    assert measures(domain, "alice").alpha.samples == 2


def test_agreement_by_hand(domain, alice, bob):
    texts = make_rollouts(domain, 3)
    say(alice, texts, [1, 4, 6])
    say(bob, texts, [2, 4, 8])
    # observed (1 + 0 + 4) / 3; expected 197 / 15 over all pairs of 1 2 4 4 6 8 (see tests/grading/test_agreement.py)
    assert quality.table(domain).alpha.value == pytest.approx(1 - (5 / 3) / (197 / 15))
    # ICC: means 1.5 4 7 about 25/6, twice the squares: 2 (64/9 + 1/36 + 289/36) = 182/6 over 2; within 0.5 + 0 + 2 over 3
    between, within = 182 / 6 / 2, 2.5 / 3
    assert quality.table(domain).icc.value == pytest.approx((between - within) / (between + within))


def test_declined_are_counted_beside_what_was_judged(domain, panel, alice, bob):
    make_batch(panel, domain, 3)
    actions.decline(claim_one(alice).token, user=alice, reason="expertise")
    submit(claim_one(alice), user=alice)
    submit(claim_one(bob), user=bob)
    assert (measures(domain, "alice").declined.count, measures(domain, "alice").declined.value) == (1, 0.5)
    assert measures(domain, "bob").declined.value == 0


def test_other_domains_and_rewards_are_no_part_of_it(domain, alice, bob):
    other = make_domain("poems")
    say(alice, make_rollouts(domain, 1), [50])
    say(bob, make_rollouts(other, 1, run="other"), [50])
    say(bob, make_rollouts(domain, 1, run="reward"), [50], purpose="reward")
    assert [rater.name for rater in quality.table(domain).raters] == ["alice"]
    assert {found.slug for found in quality.domains()} == {"stories", "poems"}


def test_a_second_verdict_on_the_same_item_is_no_repeat(domain, panel, alice, bob):
    make_batch(panel, domain, 1)
    claim = claim_one(alice)
    actions.release_many([claim.token])
    other = claim_one(bob)
    submit(claim, user=alice, score=10)  # extra: the text is in bob's hands
    actions.release(other.token, user=bob)
    Feedback.objects.update(current=False)
    submit(claim_one(alice), user=alice, key="again", score=90)
    found = measures(domain, "alice")
    assert (Feedback.objects.count(), found.verdicts, found.spread.samples) == (2, 1, 0)


def test_a_domain_without_verdicts_has_an_empty_table(domain):
    found = quality.table(domain)
    assert (found.raters, found.alpha.value, found.capped) == ([], None, False)
    assert quality.domains() == []


def test_the_latest_verdicts_count_where_there_are_too_many_and_programs_crowd_nobody_out(domain, alice, monkeypatch, experts):
    monkeypatch.setattr(quality, "MOST", 3)
    texts = make_rollouts(domain, 5)
    say(alice, texts[:2], [10, 20])
    answer(make_batch(make_program(), domain, texts), FairJudge())
    found = quality.table(domain)
    assert [(rater.name, rater.verdicts) for rater in found.raters] == [("alice", 2), ("Program", 3)]
    assert found.capped


def test_the_number_of_queries_grows_with_nothing(domain, alice, bob, django_assert_num_queries, experts):
    other = make_domain("poems")
    texts = make_rollouts(domain, 2)
    say(alice, texts, [50, 60])
    answer(make_batch(make_program(), domain, texts), FairJudge())
    with django_assert_num_queries(6):
        quality.table(domain)  # people's, programs', gold, declined, users, experts
    for n, user in enumerate([alice, bob, make_user("carol"), make_user("dora")]):
        say(user, make_rollouts(domain, 5, run=f"run {n}"), range(5))
        say(user, make_rollouts(other, 5, run=f"poems {n}"), range(5))
    with django_assert_num_queries(6):
        quality.table(domain)
    with django_assert_num_queries(5):
        quality.own(alice)  # mine, others', gold, declined, domains


def test_ones_own_measures_rest_on_finished_batches(domain, alice):
    texts = make_rollouts(domain, 6)
    say(alice, texts, range(6))
    say(alice, texts, range(6), close=False)
    ((where, mine),) = quality.own(alice)
    assert (where, mine.verdicts, mine.spread.samples) == (domain, 6, 0)
    assert quality.waiting(alice) == 6
    assert measures(domain, "alice").spread.samples == 6  # an admin sees all


def test_ones_own_measures_are_the_same_as_in_the_table(domain, alice, bob):
    texts = make_rollouts(domain, 12)
    gold(texts[:3], 50)
    say(alice, texts, [40 + 3 * i for i in range(12)])
    say(alice, texts[:5], [41, 44, 46, 52, 50])
    say(bob, texts, [45 + 2 * i for i in range(12)])
    ((_, mine),) = quality.own(alice)
    assert mine == measures(domain, "alice")


def test_who_has_judged_nothing_has_no_measures(alice, domain):
    assert quality.own(alice) == []


def test_noise_needs_five_repeated_texts(domain, alice):
    texts = make_rollouts(domain, 5)
    say(alice, texts, [50] * 5)
    say(alice, texts[:4], [52, 52, 52, 52])
    assert quality.noise(alice, domain) is None
    say(alice, texts[4:], [52])
    # each of the five texts has squares 2^2 / 2 and one degree of freedom: sqrt(10 / 5)
    assert quality.noise(alice, domain) == pytest.approx(sqrt(2)) == measures(domain, "alice").spread.value


def test_noise_is_of_this_person_in_this_domain_in_finished_batches(domain, alice, bob):
    texts = make_rollouts(domain, 5)
    say(alice, texts, [50] * 5)
    say(bob, texts, [90] * 5)
    say(alice, texts, [0] * 5, assisted=True)
    say(alice, texts, [70] * 5, close=False)
    assert quality.noise(alice, domain) is None
    assert quality.noise(alice, make_domain("poems")) is None


def test_noise_is_one_query(domain, alice, django_assert_num_queries):
    texts = make_rollouts(domain, 20)
    for _ in range(3):
        say(alice, texts, range(20))
    with django_assert_num_queries(1):
        assert quality.noise(alice, domain) == 0


def test_hidden_repeats_of_a_finished_batch_become_noise(domain, alice):
    """The whole way: a batch with repeats is judged through the queue, and closes by itself."""
    batch = make_batch(make_panel(alice), domain, 30, repeat_share=0.3)
    while claims := actions.claim_next(user=alice):
        score = 50 + 4 * (claims[0].item.control == "repeat")
        submit(claims[0], user=alice, score=score)
        if claims[0].item.control:
            assert quality.noise(alice, domain) is None  # nothing moves while the batch is open
    repeats = Item.objects.filter(batch=batch, control="repeat", state="done").count()
    assert repeats >= 5
    assert not Claim.objects.filter(ended=None).exists()
    # every repeated text: 50 and 54, squares 8, one degree of freedom: sqrt(8)
    assert quality.noise(alice, domain) == pytest.approx(sqrt(8))
