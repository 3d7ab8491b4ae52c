"""Rollouts whose score is known."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from annotation import validation
from annotation.actions import audit
from annotation.errors import InvalidVerdict
from annotation.models import Gold, Rollout
from annotation.text import storable

NOTE_LENGTH = 300


def set_gold(rollout: Rollout, score: float | str, *, note: str = "", actor: Any) -> Gold:
    """Let `rollout` measure experts from now on: its score is known to be `score`. A second call corrects the first.

    Raises `InvalidVerdict` (key "score") where the score is missing or outside the domain's range.
    """
    number, problem = validation.read_score(rollout.prompt.domain, score, required=True)
    if number is None:
        raise InvalidVerdict({"score": problem})
    with transaction.atomic():
        row, _ = Gold.objects.update_or_create(rollout=rollout, defaults={"score": number, "note": storable(note)[:NOTE_LENGTH]})
        audit.record(actor, "made gold", rollout, score=number, note=note)
    return row


def remove_gold(rollout: Rollout, *, actor: Any) -> None:
    """Use `rollout` no longer to measure experts; what was measured with it stays in the verdicts."""
    with transaction.atomic():
        if Gold.objects.filter(rollout=rollout).delete()[0]:
            audit.record(actor, "made gold no longer", rollout)
