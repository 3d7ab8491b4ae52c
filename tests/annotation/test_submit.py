"""How verdicts come in: once, from whoever holds the item, and never lost."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from annotation import actions, querysets
from annotation.actions import Passage
from annotation.errors import AlreadyAnswered, ClaimLost, InvalidVerdict, NotYours
from annotation.models import AuditEntry, Batch, Draft, Feedback
from tests.annotation.makers import WORDS, claim_one, expire, make_batch, make_domain, make_panel, states, submit


def test_a_verdict_ends_the_claim_and_the_item(domain, panel, alice):
    batch = make_batch(panel, domain, 2)
    claim = claim_one(alice)
    row = submit(claim, user=alice, score=62.5)
    claim.refresh_from_db()
    assert (row.author, row.expert, row.score, row.counted, row.started) == (alice, panel, 62.5, True, claim.started)
    assert (claim.outcome, states(batch)) == ("submitted", ["done", "ready"])
    entry = AuditEntry.objects.get(verb="submitted")
    assert (entry.actor, entry.target, entry.data["feedback"]) == (alice, f"item:{claim.item_id}", row.pk)


def test_the_last_verdict_closes_the_batch(domain, panel, alice):
    batch = make_batch(panel, domain, 2)
    for closed in (False, True):
        submit(claim_one(alice), user=alice)
        assert (Batch.objects.get(pk=batch.pk).closed is not None) == closed


def test_the_same_key_returns_the_same_verdict(domain, panel, alice):
    make_batch(panel, domain)
    claim = claim_one(alice)
    first = submit(claim, user=alice, key="k")
    assert submit(claim, user=alice, key="k", critique="Other words.") == first
    assert Feedback.objects.get().critique == WORDS


def test_another_key_does_not_land_a_second_verdict(domain, panel, alice):
    make_batch(panel, domain)
    claim = claim_one(alice)
    first = submit(claim, user=alice, key="k")
    with pytest.raises(AlreadyAnswered) as caught:
        submit(claim, user=alice, key="l")
    assert caught.value.feedback == first


def test_an_outsider_cannot_submit_on_a_claim_or_learn_a_verdict_by_its_key(domain, panel, alice, carol):
    make_batch(panel, domain)
    claim = claim_one(alice)
    for user in (carol, None):
        with pytest.raises(NotYours):
            submit(claim, user=user, key="k")
    submit(claim, user=alice, key="k")
    others = make_panel(carol, alias="others")
    make_batch(others, domain)
    with pytest.raises(NotYours):
        submit(claim_one(carol), user=carol, key="k")
    assert Feedback.objects.count() == 1


def test_an_unknown_claim_is_said_to_be_lost(alice):
    with pytest.raises(ClaimLost):
        actions.submit_feedback("nonsense", key="k", critique=WORDS, user=alice)


@pytest.mark.parametrize(
    ("critique", "score", "fields"),
    [
        ("  ", 50, {"critique"}),
        (WORDS, None, {"score"}),
        (WORDS, "", {"score"}),
        (WORDS, 100.5, {"score"}),
        (WORDS, -1, {"score"}),
        (WORDS, "nan", {"score"}),
        (WORDS, float("inf"), {"score"}),
        (WORDS, "seven", {"score"}),
        ("", "x", {"critique", "score"}),
    ],
)
def test_what_is_missing_is_said_by_field_and_nothing_changes(critique, score, fields, domain, panel, alice):
    batch = make_batch(panel, domain)
    claim = claim_one(alice)
    with pytest.raises(InvalidVerdict) as caught:
        submit(claim, user=alice, critique=critique, score=score)
    assert set(caught.value.errors) == fields
    assert states(batch) == ["claimed"]
    assert not Feedback.objects.exists()


def test_a_score_may_be_given_as_typed(domain, panel, alice):
    make_batch(panel, domain)
    assert submit(claim_one(alice), user=alice, score=" 62.5 ").score == 62.5


def test_words_alone_are_enough_where_the_domain_needs_no_score(alice):
    panel = make_panel(alice)
    make_batch(panel, make_domain(score_required=False))
    row = submit(claim_one(alice), user=alice, score=None)
    assert (row.score, row.counted) == (None, True)


def test_the_draft_goes_when_its_words_are_handed_in(domain, panel, alice, bob):
    make_batch(panel, domain, 2)
    for user in (alice, bob):
        actions.save_draft(claim_one(user).token, user=user, critique="So far.")
    submit(claim_one(alice), user=alice)
    assert Draft.objects.get().user == bob


def test_a_late_verdict_counts_while_the_item_is_free(domain, panel, alice):
    batch = make_batch(panel, domain)
    claim = claim_one(alice)
    expire(claim)
    assert submit(claim, user=alice).counted
    claim.refresh_from_db()
    assert (claim.outcome, states(batch)) == ("submitted", ["done"])


def test_a_late_verdict_is_kept_as_extra_when_somebody_else_holds_the_item(domain, panel, alice, bob):
    batch = make_batch(panel, domain)
    late = claim_one(alice)
    expire(late)
    held = claim_one(bob)
    assert not submit(late, user=alice).counted
    assert states(batch) == ["claimed"]
    assert submit(held, user=bob).counted
    assert querysets.verdicts(batch).get().author == bob
    assert Feedback.objects.filter(item=held.item).count() == 2


def test_a_late_verdict_is_kept_as_extra_when_somebody_else_has_answered(domain, panel, alice, bob):
    batch = make_batch(panel, domain)
    late = claim_one(alice)
    expire(late)
    submit(claim_one(bob), user=bob)
    row = submit(late, user=alice, key="late")
    assert (row.counted, row.critique) == (False, WORDS)
    assert submit(late, user=alice, key="late") == row
    assert querysets.verdicts(batch).get().author == bob


def test_a_late_verdict_counts_when_the_same_person_holds_the_item_again(domain, panel, alice):
    make_batch(panel, domain)
    old = claim_one(alice)
    expire(old)
    new = claim_one(alice)
    assert (new.item, new.pk) != (old.item, old.pk)
    assert submit(old, user=alice).counted
    new.refresh_from_db()
    assert new.outcome == "submitted"
    with pytest.raises(AlreadyAnswered):
        submit(new, user=alice)


def test_a_verdict_after_the_batch_was_closed_is_kept_as_extra(domain, panel, alice):
    batch = make_batch(panel, domain)
    claim = claim_one(alice)
    actions.close_batch(batch, reason="Enough.")
    assert not submit(claim, user=alice).counted
    assert states(batch) == ["cancelled"]


def test_words_on_a_declined_item_are_kept_but_do_not_count(domain, panel, alice):
    batch = make_batch(panel, domain)
    claim = claim_one(alice)
    actions.decline(claim.token, user=alice, reason="conflict")
    assert not submit(claim, user=alice).counted
    assert states(batch) == ["ready"]


def test_the_database_itself_refuses_two_verdicts_that_count_on_one_item(domain, panel, alice, bob):
    make_batch(panel, domain)
    row = submit(claim_one(alice), user=alice)
    with pytest.raises(IntegrityError), transaction.atomic():
        Feedback.objects.create(item=row.item, expert=panel, author=bob, key="other", started=row.started)
    with pytest.raises(IntegrityError), transaction.atomic():
        Feedback.objects.create(item=row.item, expert=panel, author=alice, key="other", started=row.started, counted=False)


def test_a_reopened_item_can_be_answered_by_the_same_person_and_the_old_words_stay(domain, panel, alice):
    batch = make_batch(panel, domain)
    old = submit(claim_one(alice), user=alice, score=10)
    actions.reopen(old.item, actor=None, reason="Broken display.")
    assert Batch.objects.get(pk=batch.pk).closed is None
    new = submit(claim_one(alice), user=alice, score=20)
    assert list(querysets.verdicts(batch)) == [new]
    assert Feedback.objects.get(pk=old.pk).score == 10
    assert AuditEntry.objects.get(verb="reopened").data["before"]["feedback"] == [old.pk]


def test_a_correction_is_a_new_revision(domain, panel, alice, bob):
    batch = make_batch(panel, domain)
    old = submit(claim_one(alice), user=alice, score=10)
    with pytest.raises(NotYours):
        actions.revise_feedback(old, key="r", user=bob, reason="I know better.", critique=WORDS, score=90)
    with pytest.raises(InvalidVerdict) as caught:
        actions.revise_feedback(old, key="r", user=alice, reason="", critique="", score=900)
    assert set(caught.value.errors) == {"reason", "critique", "score"}
    new = actions.revise_feedback(old, key="r", user=alice, reason="Misread.", critique="Better words.", score=20)
    assert actions.revise_feedback(old, key="r", user=alice, reason="Misread.", critique="Better words.", score=20) == new
    assert (new.revision, new.counted, new.claim) == (2, True, old.claim)
    assert list(querysets.verdicts(batch)) == [new]
    assert Feedback.objects.get(pk=old.pk).critique == WORDS
    with pytest.raises(AlreadyAnswered):
        actions.revise_feedback(old, key="s", user=alice, reason="Again.", critique=WORDS, score=30)


def test_a_text_that_the_database_cannot_hold_is_kept_with_marks_in_its_place(domain, panel, alice):
    make_batch(panel, domain)
    assert submit(claim_one(alice), user=alice, critique="a\0b\ud800c").critique == "a\ufffdb\ufffdc"


@pytest.mark.parametrize("key", ["", "x" * 81, "a\0b"])
def test_a_key_that_cannot_be_one_is_a_mistake_of_the_page(key, domain, panel, alice):
    make_batch(panel, domain)
    with pytest.raises(ValueError, match="printable key"):
        actions.submit_feedback(claim_one(alice).token, key=key, critique=WORDS, score=1, user=alice)


def test_highlights_are_kept_with_the_words_they_point_at(domain, panel, alice):
    make_batch(panel, domain)
    row = submit(claim_one(alice), user=alice, spans=[Passage(0, 5, "Story", "+", "Good word.")])
    span = row.spans.get()
    assert (span.start, span.end, span.quote, span.sign) == (0, 5, "Story", "+")


@pytest.mark.parametrize("passage", [Passage(0, 500, "x", "+"), Passage(3, 3, "", "+"), Passage(0, 5, "Other", "+"), Passage(0, 5, "Story", "?")])
def test_a_highlight_that_does_not_fit_the_text_is_refused(passage, domain, panel, alice):
    make_batch(panel, domain)
    with pytest.raises(InvalidVerdict) as caught:
        submit(claim_one(alice), user=alice, spans=[passage])
    assert set(caught.value.errors) == {"spans"}
