"""What was said is never edited, not even by somebody who goes past the actions."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from annotation.models import AuditEntry, Feedback
from tests.annotation.makers import WORDS, claim_one, make_batch, submit


def test_the_words_and_the_score_of_a_verdict_cannot_be_changed(domain, panel, alice):
    make_batch(panel, domain)
    row = submit(claim_one(alice), user=alice)
    for change in ({"critique": "Other words."}, {"score": 99.0}, {"expert_options": {"seed": 2}}, {"author": None}):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            Feedback.objects.filter(pk=row.pk).update(**change)
    assert Feedback.objects.get(pk=row.pk).critique == WORDS


def test_a_verdict_may_be_superseded(domain, panel, alice):
    make_batch(panel, domain)
    row = submit(claim_one(alice), user=alice)
    assert Feedback.objects.filter(pk=row.pk).update(current=False) == 1


def test_an_audit_entry_cannot_be_changed(domain, panel, alice):
    make_batch(panel, domain)
    submit(claim_one(alice), user=alice)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        AuditEntry.objects.filter(verb="submitted").update(actor=None)
