"""Handing out items and taking them back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from annotation import events, prepared, querysets
from annotation.actions import audit
from annotation.actions.budgets import Most, affords, hold
from annotation.actions.ledger import applies
from annotation.errors import AlreadyAnswered, ClaimLost, InvalidVerdict, NotYours
from annotation.models import Batch, Claim, Expert, Item
from annotation.text import storable

STALE_AT_ONCE = 20  # stale claims that an empty queue ends in passing: its cost stays the same however many there are
AHEAD_SECONDS = 120  # lease of an item that was only fetched ahead
REASON_LENGTH = 300
UNKNOWN = "There is no such item in your hands."
State, Outcome = Item.State, Claim.Outcome
WITH_ALL = ("item__batch__domain", "item__batch__expert", "item__expert", "item__rollout__prompt")

FIELDS = Claim._meta.concrete_fields
LIMITS = applies("expert.id", "batch.experiment", "%(user)s::bigint")
# One statement hands out what waits: it finds the first batch with something for this person (as `querysets.claimable_by` says, and a test
# holds the two together), locks its first items that nobody else is just taking, and leases them. Whoever has something in hand or fetched
# ahead gets nothing by it, and what a used-up budget limits is passed over. LATERAL makes the planner go batch by batch in their order, and
# each time along the index of ready items, so the cost depends neither on the length of the queue nor on leases that were left behind.
CLAIM = f"""
WITH waiting AS MATERIALIZED (
    SELECT batch.id, expert.id AS expert, batch.lease_seconds, batch.experiment,
        EXISTS (SELECT FROM annotation_budget budget WHERE {LIMITS}) AS budgeted
    FROM annotation_batch batch
    JOIN annotation_batch_experts asked ON asked.batch_id = batch.id
    JOIN annotation_expert expert ON expert.id = asked.expert_id
    WHERE batch.closed IS NULL AND batch.purpose <> 'reward' AND expert.active
      AND (%(batch)s::bigint IS NULL OR batch.id = %(batch)s) AND batch.id <> ALL(%(without)s)
      AND NOT EXISTS (SELECT FROM annotation_budget budget WHERE {LIMITS} AND budget.hard AND budget.spent >= budget.limit)
      AND (%(ahead)s OR NOT (
          EXISTS (SELECT FROM annotation_claim own WHERE own.user_id = %(user)s AND own.ended IS NULL AND own.opened IS NOT NULL)
          OR EXISTS (SELECT FROM annotation_claim own WHERE own.user_id = %(user)s AND own.ended IS NULL AND own.opened IS NULL)))
      AND CASE WHEN %(user)s::bigint IS NULL THEN expert.id = %(expert)s ELSE expert.kind = 'human' AND EXISTS (
          SELECT FROM annotation_expert_members member WHERE member.expert_id = expert.id AND member.user_id = %(user)s) END
    ORDER BY batch.priority DESC, batch.id
), following AS (
    SELECT item.id, waiting.lease_seconds, waiting.experiment, waiting.budgeted
    FROM waiting CROSS JOIN LATERAL (
        SELECT ready.id FROM annotation_item ready
        WHERE ready.batch_id = waiting.id AND ready.expert_id = waiting.expert AND ready.state = 'ready' AND (%(user)s::bigint IS NULL OR (
            (ready.reviewer_id IS NULL OR ready.reviewer_id = %(user)s)
            AND NOT EXISTS (
                SELECT FROM annotation_claim claim JOIN annotation_item met ON met.id = claim.item_id
                WHERE met.batch_id = ready.batch_id AND met.rollout_id = ready.rollout_id AND claim.user_id = %(user)s
                  AND (claim.ended IS NULL OR claim.outcome = 'declined'))
            AND (ready.control = 'repeat') = EXISTS (
                SELECT FROM annotation_feedback verdict JOIN annotation_item judged ON judged.id = verdict.item_id
                WHERE judged.batch_id = ready.batch_id AND judged.rollout_id = ready.rollout_id AND verdict.author_id = %(user)s
                  AND verdict.current)))
        ORDER BY ready.position LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
    ) item
    LIMIT %(limit)s
), taken AS (
    UPDATE annotation_item item SET state = 'claimed' FROM following WHERE item.id = following.id
    RETURNING item.id, item.batch_id, item.position, following.lease_seconds, following.experiment, following.budgeted
), leased AS (
    INSERT INTO annotation_claim (token, item_id, user_id, started, opened, expires, outcome, declined, reason)
    SELECT gen_random_uuid(), id, %(user)s, %(now)s, CASE WHEN %(ahead)s THEN NULL ELSE %(now)s END,
        %(now)s + make_interval(secs => CASE WHEN %(ahead)s THEN %(ahead_seconds)s ELSE lease_seconds END), '', '', ''
    FROM taken
    RETURNING *
)
SELECT {", ".join(f"leased.{field.column}" for field in FIELDS)}, taken.batch_id, taken.experiment, taken.budgeted
FROM leased JOIN taken ON taken.id = leased.item_id ORDER BY taken.position
"""  # noqa: S608 (SQL from above)


def claim_next(
    *,
    user: Any = None,
    expert: Expert | None = None,
    batch: Batch | None = None,
    limit: int = 1,
    related: Sequence[str] = WITH_ALL,
    most: Most | None = None,
    now: datetime | None = None,
) -> list[Claim]:
    """Up to `limit` items of the first batch that waits for `user` or for `expert`, leased; [] where nothing does.

    A person has one item at a time: an open claim is returned again with its lease renewed, whatever `batch` says, and what was fetched
    ahead comes next. Batches come by priority, then in the order of their making; items by position. What `related` names is loaded with
    them. What hard budgets have no room for is not handed out; `most` says what a claim can cost.
    """
    if (user is None) == (expert is None):
        raise ValueError("claim_next needs either a user or an expert")
    now = now or timezone.now()
    claim = partial(_claim, user, expert, batch, limit, now, related=related, most=most)
    try:
        with transaction.atomic():
            found = claim()
            if not found and user is not None:
                if own := _own_claim(user, batch, now):
                    return [own]
                found = claim()  # what was in the way has been ended
            if not found and expire_claims(now, limit=STALE_AT_ONCE):
                found = claim()
            if not found and user is not None and _free_ahead(user, batch, now):
                found = claim()
    except IntegrityError:  # the same person was handed an item in another window at the same moment
        with transaction.atomic():
            own = _own_claim(user, batch, now)
        return [own] if own else []
    return found


def claim_ahead(token: UUID | str, *, user: Any, now: datetime | None = None) -> Claim | None:
    """The item that will follow the one in hand, of the same batch, under a short lease; None where nothing waits.

    It counts as seen by nobody until `claim_next` or `open_claim` opens it, and who has nothing else to do may take it. Raises `ClaimLost`,
    `NotYours`.
    """
    now = now or timezone.now()
    try:
        with transaction.atomic():
            claim = lock_claim(token, user)
            if claim.ended is not None:
                return None
            if mine := _open_claims(user).filter(opened=None).first():
                renew_ahead(user, now)
                return mine
            found = _claim(user, None, claim.item.batch, 1, now, ahead=True)
            if not found and expire_claims(now, limit=STALE_AT_ONCE):
                found = _claim(user, None, claim.item.batch, 1, now, ahead=True)
            return found[0] if found else None
    except IntegrityError:  # another window fetched ahead at the same moment
        return _open_claims(user).filter(opened=None).first()


def open_claim(token: UUID | str, *, user: Any, now: datetime | None = None) -> Claim:
    """Whoever opens a text that was fetched ahead has it in hand from now on. An opened claim is left as it is.

    Raises `ClaimLost` where it went to somebody else meanwhile or another item is in hand, `NotYours`.
    """
    lost = ClaimLost("That text went to a colleague meanwhile. Go on with the next one.")
    try:
        with transaction.atomic():
            claim = lock_claim(token, user)
            if claim.opened is None:
                if claim.ended is not None:
                    raise lost
                _open(claim, now or timezone.now())
            return claim
    except IntegrityError as exc:
        raise ClaimLost("You have another text open. Submit it or give it back, then go on.") from exc


def _own_claim(user: Any, batch: Batch | None, now: datetime) -> Claim | None:
    """The person's open claim, renewed, or else what was fetched ahead, opened. One whose item is not wanted any more is ended."""
    ahead = None
    for claim in _open_claims(user).select_for_update(of=("self",), no_key=True):
        if claim.item.state == State.CANCELLED or (claim.opened is None and batch is not None and claim.item.batch_id != batch.pk):
            end([claim], Outcome.RELEASED, now)
        elif claim.opened is None:
            ahead = claim
        else:
            claim.expires = now + lease(claim)
            claim.save(update_fields=["expires"])
            return claim
    if ahead is not None:
        _open(ahead, now)
    return ahead


def _open_claims(user: Any) -> Any:
    return Claim.objects.filter(user=user, ended=None).select_related(*WITH_ALL)


def _open(claim: Claim, now: datetime) -> None:
    claim.started = claim.opened = now
    claim.expires = now + lease(claim)
    claim.save(update_fields=["started", "opened", "expires"])


def renew_ahead(user: Any, now: datetime) -> None:
    """Who is at work keeps what was fetched ahead."""
    Claim.objects.filter(user=user, ended=None, opened=None).update(expires=now + timedelta(seconds=AHEAD_SECONDS))


def _claim(
    user: Any,
    expert: Expert | None,
    batch: Batch | None,
    limit: int,
    now: datetime,
    *,
    ahead: bool = False,
    related: Sequence[str] = WITH_ALL,
    most: Most | None = None,
) -> list[Claim]:
    values: dict[str, Any] = {
        "user": user.pk if user else None,
        "expert": expert.pk if expert else None,
        "batch": batch.pk if batch else None,
        "limit": 1 if user else limit,
        "now": now,
        "ahead": ahead,
        "ahead_seconds": AHEAD_SECONDS,
        "without": [],
    }
    while claims := _made(values):
        if not claims[0].budgeted:
            break
        if kept := {claim.pk for claim in hold(claims, most)}:
            claims = [claim for claim in claims if claim.pk in kept]
            break
        values["without"].append(claims[0].of_batch)
    if not claims:
        return []
    if user is not None:
        events.batch_touched(claims[0].of_batch, claims[0].of_experiment)
    if not related:
        return claims
    return list(Claim.objects.filter(pk__in=[claim.pk for claim in claims]).select_related(*related).order_by("item__position"))


def _made(values: Mapping[str, Any]) -> list[Any]:
    """The claims that `CLAIM` makes, with what it adds to them."""
    claims: list[Any] = []
    with prepared.run(CLAIM, values) as cursor:
        for row in cursor.fetchall():
            claim: Any = Claim.from_db(connection.alias, [field.attname for field in FIELDS], row[: len(FIELDS)])
            claim.of_batch, claim.of_experiment, claim.budgeted = row[len(FIELDS) :]
            claims.append(claim)
    return claims


def _free_ahead(user: Any, batch: Batch | None, now: datetime) -> int:
    """Before the queue is said to be empty: take what others have only fetched ahead. How many items that were."""
    batches = [batch] if batch else querysets.batches_for(user=user)
    ahead = Claim.objects.filter(ended=None, opened=None, item__batch__in=batches).select_related("item__batch").order_by("pk")
    taken = list(ahead.select_for_update(of=("self",), skip_locked=True, no_key=True)[:STALE_AT_ONCE])
    end(taken, Outcome.EXPIRED, now)
    return len(taken)


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
    """Renew the lease, and that of what was fetched ahead; one that has run out is taken up again where the item is still free.

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
                if claim.outcome != Outcome.EXPIRED or claim.item.batch.closed is not None or not affords(claim) or not _take_again(claim):
                    raise lost
                claim.ended, claim.outcome = None, ""
            claim.opened = claim.opened or now
            claim.expires = now + lease(claim)
            claim.save(update_fields=["expires", "opened", "ended", "outcome"])
            renew_ahead(user, now)
    except IntegrityError as exc:  # the person has another item in hand by now
        raise lost from exc
    return claim


def _take_again(claim: Claim) -> bool:
    return Item.objects.filter(pk=claim.item_id, state=State.READY).update(state=State.CLAIMED) == 1


def decline(token: UUID | str, *, user: Any, reason: str, words: str = "", now: datetime | None = None) -> Claim:
    """Decline an item: it goes on to somebody else and never counts as done. Saying so twice changes nothing.

    `reason` is one of Claim.Decline; with OTHER the person's own `words` are needed. An item with this person's name on it is free for all
    from now on; a hidden repeat is not asked again. Raises `InvalidVerdict` (keys "reason", "words"), `AlreadyAnswered`, `ClaimLost`,
    `NotYours`.
    """
    words = storable(words.strip())
    if reason not in Claim.Decline.values:
        raise InvalidVerdict({"reason": "Choose a reason; it helps to route the text."})
    if reason == Claim.Decline.OTHER and not words:
        raise InvalidVerdict({"words": "Say in a few words what it is."})
    if len(words) > REASON_LENGTH:
        raise InvalidVerdict({"words": f"Keep it under {REASON_LENGTH} characters; it has {len(words)}."})
    with transaction.atomic():
        claim = lock_claim(token, user)
        if claim.outcome == Outcome.SUBMITTED:
            raise AlreadyAnswered
        if claim.outcome != Outcome.DECLINED:
            claim.declined, claim.reason = reason, words
            Claim.objects.filter(pk=claim.pk).update(declined=reason, reason=words)
            end([claim], Outcome.DECLINED, now or timezone.now())
            item = claim.item
            if item.control == Item.Control.REPEAT:
                Item.objects.filter(pk=item.pk, state=State.READY).update(state=State.CANCELLED)
            elif item.reviewer_id is not None and item.reviewer_id == claim.user_id:
                Item.objects.filter(pk=item.pk).update(reviewer=None)
            audit.record(user, "declined", item, reason=reason, words=words, **audit.where(item))
    return claim


def release(token: UUID | str, *, user: Any, now: datetime | None = None) -> Claim:
    """Give an item back, and what was fetched ahead with it; it may come again. A claim that has ended already is left as it is.

    Raises `ClaimLost`, `NotYours`.
    """
    with transaction.atomic():
        claim = lock_claim(token, user)
        tokens = [claim.token]
        if claim.ended is None:
            tokens += Claim.objects.filter(user=user, ended=None, opened=None).values_list("token", flat=True)
        release_many(tokens, actor=user, now=now)
    claim.refresh_from_db()
    return claim


def release_many(tokens: Iterable[UUID], *, actor: Any = None, reason: str = "", now: datetime | None = None) -> int:
    """Give back items whoever holds them: for programs that could not answer, and for admins. How many claims were ended."""
    with transaction.atomic():
        mine = Claim.objects.filter(token__in=list(tokens), ended=None).order_by("pk")
        claims = list(mine.select_related("item__batch").select_for_update(of=("self",), no_key=True))
        end(claims, Outcome.RELEASED, now or timezone.now())
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
        end(claims, Outcome.EXPIRED, now)
    return len(claims)


def end(claims: Sequence[Claim], outcome: Claim.Outcome, now: datetime) -> None:
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
        events.batch_touched(batch.pk, batch.experiment)


def lock_items(ids: Iterable[int]) -> dict[int, Item]:
    """The items by id, locked in that order."""
    locked = Item.objects.raw("SELECT * FROM annotation_item WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [list(ids)])
    return {item.pk: item for item in locked}
