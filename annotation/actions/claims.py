"""Handing out items and taking them back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from annotation import events, querysets
from annotation.actions import audit
from annotation.errors import AlreadyAnswered, ClaimLost, InvalidVerdict, NotYours
from annotation.models import Batch, Claim, Expert, Item
from annotation.text import storable

STALE_AT_ONCE = 20  # stale claims that handing out an item ends in passing: its cost stays the same however many there are
REASON_LENGTH = 300
UNKNOWN = "There is no such item in your hands."
State, Outcome = Item.State, Claim.Outcome
WITH_ALL = ("item__batch__domain", "item__batch__expert", "item__rollout__prompt")


def claim_next(
    *, user: Any = None, expert: Expert | None = None, batch: Batch | None = None, limit: int = 1, now: datetime | None = None
) -> list[Claim]:
    """Up to `limit` items of the first batch that waits for `user` or for `expert`, leased; [] where nothing does.

    A person has one item at a time: an open claim is returned again with its lease renewed, whatever `batch` says. Batches come by
    priority, then in the order of their making; items by position.
    """
    if (user is None) == (expert is None):
        raise ValueError("claim_next needs either a user or an expert")
    now = now or timezone.now()
    if user is not None and (own := _own_claim(user, now)):
        return [own]
    try:
        with transaction.atomic():
            expire_claims(now, limit=STALE_AT_ONCE)
            batches = querysets.batches_for(user=user, expert=expert)
            items = _lock_next(batches.filter(pk=batch.pk) if batch else batches, user, 1 if user else limit)
            return _lease(items, user, now)
    except IntegrityError:  # the same person was handed an item in another window at the same moment
        own = _own_claim(user, now)
        return [own] if own else []


def _own_claim(user: Any, now: datetime) -> Claim | None:
    """The person's open claim, renewed. One whose item is not wanted any more is ended; its draft stays."""
    with transaction.atomic():
        claim = Claim.objects.select_related(*WITH_ALL).select_for_update(of=("self",), no_key=True).filter(user=user, ended=None).first()
        if claim is None:
            return None
        if claim.item.state == State.CANCELLED:
            _end([claim], Outcome.RELEASED, now)
            return None
        claim.expires = now + lease(claim)
        claim.save(update_fields=["expires"])
        return claim


def _lock_next(batches: QuerySet[Batch], user: Any, limit: int) -> list[Item]:
    ready = querysets.fit_for(user, Item.objects.filter(state=State.READY))
    # A scalar subquery is looked up batch by batch along the index of ready items; a join would sort the whole queue.
    following = ready.filter(batch=OuterRef("pk")).order_by("position").values("pk")[:1]
    waiting = batches.annotate(following=Subquery(following)).filter(following__isnull=False).order_by("-priority", "pk").values_list("pk", flat=True)
    tried: list[int] = []
    while (batch_id := waiting.exclude(pk__in=tried).first()) is not None:
        queue = ready.filter(batch_id=batch_id).select_related("batch__domain", "batch__expert", "rollout__prompt").order_by("position")
        if items := list(queue.select_for_update(skip_locked=True, of=("self",), no_key=True)[:limit]):
            return items
        tried.append(batch_id)  # others are taking its last items just now
    return []


def _lease(items: Sequence[Item], user: Any, now: datetime) -> list[Claim]:
    if not items:
        return []
    Item.objects.filter(pk__in=[item.pk for item in items]).update(state=State.CLAIMED)
    for item in items:
        item.state = State.CLAIMED
    claims = [Claim(item=item, user=user, started=now, expires=now + timedelta(seconds=item.batch.lease_seconds)) for item in items]
    Claim.objects.bulk_create(claims)
    if user is not None:
        events.batch_touched(items[0].batch)
    return claims


def lease(claim: Claim) -> timedelta:
    return timedelta(seconds=claim.item.batch.lease_seconds)


def read_token(token: UUID | str) -> UUID:
    try:
        return UUID(str(token))
    except ValueError as exc:
        raise ClaimLost(UNKNOWN) from exc


def lock_claim(token: UUID | str, user: Any) -> Claim:
    """The claim, locked. Raises `ClaimLost` where there is none, `NotYours` where it is another's."""
    claims = Claim.objects.select_related(*WITH_ALL).select_for_update(of=("self",), no_key=True)
    try:
        claim = claims.get(token=read_token(token))
    except Claim.DoesNotExist as exc:
        raise ClaimLost(UNKNOWN) from exc
    if claim.user_id != (user.pk if user else None):
        raise NotYours("This item is in somebody else's hands.")
    return claim


def renew_claim(token: UUID | str, *, user: Any, now: datetime | None = None) -> Claim:
    """Renew the lease; one that has run out is taken up again where the item is still free.

    Raises `AlreadyAnswered`, `ClaimLost` (the item went on; text is still taken by `submit_feedback`, as an extra verdict), `NotYours`.
    """
    now = now or timezone.now()
    lost = ClaimLost("Your time with this item ran out and it went on to somebody else. You can still submit what you wrote.")
    try:
        with transaction.atomic():
            claim = lock_claim(token, user)
            if claim.outcome == Outcome.SUBMITTED:
                raise AlreadyAnswered
            if claim.ended is not None:
                if claim.outcome != Outcome.EXPIRED or claim.item.batch.closed is not None or not _take_again(claim):
                    raise lost
                claim.ended, claim.outcome = None, ""
            claim.expires = now + lease(claim)
            claim.save(update_fields=["expires", "ended", "outcome"])
    except IntegrityError as exc:  # the person has another item in hand by now
        raise lost from exc
    return claim


def _take_again(claim: Claim) -> bool:
    return Item.objects.filter(pk=claim.item_id, state=State.READY).update(state=State.CLAIMED) == 1


def skip(token: UUID | str, *, user: Any, reason: str, now: datetime | None = None) -> Claim:
    """Decline an item: it goes to somebody else and never counts as done. Saying so twice changes nothing.

    Raises `InvalidVerdict` (key "reason") where there is no reason, `AlreadyAnswered`, `ClaimLost`, `NotYours`.
    """
    reason = storable(reason.strip())
    if not reason:
        raise InvalidVerdict({"reason": "Say why you pass this one on."})
    if len(reason) > REASON_LENGTH:
        raise InvalidVerdict({"reason": f"Keep the reason under {REASON_LENGTH} characters; it has {len(reason)}."})
    with transaction.atomic():
        claim = lock_claim(token, user)
        if claim.outcome == Outcome.SUBMITTED:
            raise AlreadyAnswered
        if claim.outcome != Outcome.SKIPPED:
            claim.reason = reason
            Claim.objects.filter(pk=claim.pk).update(reason=reason)
            _end([claim], Outcome.SKIPPED, now or timezone.now())
            audit.record(user, "skipped", claim.item, reason=reason, **audit.where(claim.item))
    return claim


def release(token: UUID | str, *, user: Any, now: datetime | None = None) -> Claim:
    """Give an item back; it may come again. A claim that has ended already is left as it is. Raises `ClaimLost`, `NotYours`."""
    with transaction.atomic():
        claim = lock_claim(token, user)
        release_many([claim.token], actor=user, now=now)
    claim.refresh_from_db()
    return claim


def release_many(tokens: Iterable[UUID], *, actor: Any = None, reason: str = "", now: datetime | None = None) -> int:
    """Give back items whoever holds them: for programs that could not answer, and for admins. How many claims were ended."""
    with transaction.atomic():
        mine = Claim.objects.filter(token__in=list(tokens), ended=None).order_by("pk")
        claims = list(mine.select_related("item__batch").select_for_update(of=("self",), no_key=True))
        _end(claims, Outcome.RELEASED, now or timezone.now())
        audit.record_all(
            audit.entry(actor, "released", claim.item, reason=reason, holder=claim.user_id, **audit.where(claim.item)) for claim in claims
        )
    return len(claims)


def expire_claims(now: datetime | None = None, *, limit: int | None = None) -> int:
    """End claims whose lease has run out, at most `limit`: their items are ready again. How many were ended."""
    now = now or timezone.now()
    with transaction.atomic():
        # Unordered and not joined: with old statistics the planner would first sort or join all that are stale.
        claims = list(querysets.stale(now).order_by().select_for_update(skip_locked=True, no_key=True)[:limit])
        _end(claims, Outcome.EXPIRED, now)
    return len(claims)


def _end(claims: Sequence[Claim], outcome: Claim.Outcome, now: datetime) -> None:
    """End locked claims; items that they held are ready again."""
    if not claims:
        return
    held = {claim.item_id for claim in claims if claim.ended is None}
    for claim in claims:
        claim.ended, claim.outcome = now, outcome
    Claim.objects.filter(pk__in=[claim.pk for claim in claims]).update(ended=now, outcome=outcome)
    items = lock_items(claim.item_id for claim in claims).values()
    Item.objects.filter(pk__in=[item.pk for item in items if item.pk in held and item.state == State.CLAIMED]).update(state=State.READY)
    for batch in Batch.objects.filter(pk__in={item.batch_id for item in items}):
        events.batch_touched(batch)


def lock_items(ids: Iterable[int]) -> dict[int, Item]:
    """The items by id, locked in that order."""
    return {item.pk: item for item in Item.objects.filter(pk__in=list(ids)).order_by("pk").select_for_update(no_key=True)}
