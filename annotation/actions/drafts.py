"""What a person has written so far, kept safe while they write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from annotation.actions.claims import lease, lock_claim, renew_ahead
from annotation.errors import AlreadyAnswered, DraftConflict
from annotation.models import Claim, Draft
from annotation.text import storable

SCORE_LENGTH = 20


def save_draft(
    token: UUID | str,
    *,
    user: Any,
    critique: str = "",
    deliberation: str = "",
    score: str = "",
    spans: Sequence[Mapping[str, Any]] = (),
    version: int = 0,
    now: datetime | None = None,
) -> Draft:
    """Keep what was written so far and renew the lease; after the lease has run out the text is kept all the same.

    `spans` are highlights as the page writes them, kept as they come; they are checked when the verdict is submitted. `version` is that of
    the draft which the text grew from: 0 for none. Saving what is stored already changes nothing. Raises `DraftConflict` with the stored
    draft where another window saved meanwhile, `AlreadyAnswered`, `ClaimLost`, `NotYours`.
    """
    now = now or timezone.now()
    words = {"critique": storable(critique), "deliberation": storable(deliberation), "score": storable(str(score))[:SCORE_LENGTH]}
    text: dict[str, Any] = words | {"spans": storable(list(spans))}
    with transaction.atomic():
        claim = lock_claim(token, user)
        if claim.outcome == Claim.Outcome.SUBMITTED:
            raise AlreadyAnswered
        if claim.ended is None:
            Claim.objects.filter(pk=claim.pk).update(expires=now + lease(claim), opened=claim.opened or now)
            renew_ahead(user, now)
        mine = Draft.objects.filter(item=claim.item_id, user=user)
        current = mine.select_for_update(no_key=True).first()
        if current is None:
            return _first(claim, user, text, now)
        if all(getattr(current, field) == value for field, value in text.items()):
            return current
        if current.version != version:
            raise DraftConflict(current)
        mine.update(**text, version=F("version") + 1, saved=now)
        return mine.get()


def _first(claim: Claim, user: Any, text: dict[str, Any], now: datetime) -> Draft:
    try:
        with transaction.atomic():
            return Draft.objects.create(item_id=claim.item_id, user=user, saved=now, **text)
    except IntegrityError as exc:  # through an older claim of the same person on the same item
        raise DraftConflict(Draft.objects.get(item=claim.item_id, user=user)) from exc
