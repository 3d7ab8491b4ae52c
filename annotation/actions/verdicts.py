"""The one way by which verdicts of people, language models and programs come in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from annotation import events, prepared, validation
from annotation.actions import audit
from annotation.actions.batches import close_complete
from annotation.actions.budgets import affords
from annotation.actions.claims import UNKNOWN, lock_items, read_token
from annotation.actions.ledger import CHARGE, due
from annotation.errors import AlreadyAnswered, ClaimLost, InvalidVerdict, NotYours
from annotation.experts import snapshot
from annotation.models import Batch, Claim, Domain, Expert, Feedback, Item, Price, Reveal, Rollout, Span, digest_of
from annotation.text import storable

State, Outcome = Item.State, Claim.Outcome
REASON_LENGTH = 200
REVISION_REASON_LENGTH = 300
KEY_LENGTH = 80
# What a verdict is checked by, with the claims locked: those of the answers, and what else the person has in hand, for they may hold the
# same item under a newer claim; the text only where passages of it are marked. Not by the ORM: building a query of this size costs more
# than running it. Names are in the models' order.
# Three look-ups, each by an index of its own: an OR would walk over all claims that ended since the last vacuum.
LOCKED: dict[type[Any], tuple[str, ...]] = {
    Claim: ("id", "token", "item_id", "user_id", "started", "opened", "ended", "outcome"),
    Item: ("id", "batch_id", "rollout_id", "expert_id", "control"),
    Batch: ("id", "domain_id", "expert_id", "purpose", "experiment", "closed"),
    Domain: ("id", "guidelines", "score_min", "score_max", "score_required"),
    Expert: ("id", "kind", "backend", "options", "price"),
}
LOCK = f"""
SELECT {", ".join(f"{model.__name__.lower()}.{name}{'::json' * (name == 'options')}" for model, names in LOCKED.items() for name in names)},
    EXISTS (SELECT FROM annotation_feedback landed WHERE landed.key = ANY(%(keys)s)) OR EXISTS (
        SELECT FROM annotation_feedback verdict
        WHERE verdict.item_id = item.id AND verdict.author_id IS NOT DISTINCT FROM %(user)s::bigint AND verdict.current),
    EXISTS (SELECT FROM annotation_reveal reveal WHERE reveal.user_id = %(user)s::bigint AND reveal.rollout_id = item.rollout_id),
    (SELECT content FROM annotation_rollout rollout WHERE rollout.id = item.rollout_id AND %(marked)s),
    (SELECT to_jsonb(listed)::text FROM annotation_price listed WHERE listed.name = expert.price AND listed.since <= %(today)s
        ORDER BY listed.since DESC LIMIT 1)
FROM annotation_claim claim
JOIN annotation_item item ON item.id = claim.item_id
JOIN annotation_batch batch ON batch.id = item.batch_id
JOIN annotation_domain domain ON domain.id = batch.domain_id
JOIN annotation_expert expert ON expert.id = item.expert_id
WHERE claim.id IN (
    SELECT id FROM annotation_claim WHERE token = ANY(%(tokens)s)
    UNION ALL SELECT id FROM annotation_claim WHERE user_id = %(user)s::bigint AND ended IS NULL AND opened IS NOT NULL
    UNION ALL SELECT id FROM annotation_claim WHERE user_id = %(user)s::bigint AND ended IS NULL AND opened IS NULL
)
ORDER BY claim.id FOR NO KEY UPDATE OF claim
"""  # noqa: S608 (column names from above)

# What a verdict changes besides itself, in one statement; claims and items are locked by now.
SETTLE = f"""
WITH {CHARGE}, ended AS (
    UPDATE annotation_claim SET ended = %(now)s, outcome = 'submitted' WHERE id = ANY(%(claims)s)
), done AS (
    UPDATE annotation_item SET state = 'done' WHERE id = ANY(%(done)s)
)
DELETE FROM annotation_draft WHERE user_id = %(user)s AND item_id = ANY(%(items)s)
"""  # noqa: S608 (SQL from ledger.py)


@dataclass(frozen=True, slots=True)
class Passage:
    """A highlight: code points [start, end) of the content, their text, "+" or "-", and a comment."""

    start: int
    end: int
    quote: str
    sign: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict on the item that the claim `token` holds. The same `key` lands once."""

    token: UUID
    key: str
    critique: str = ""
    deliberation: str = ""
    score: float | str | None = None
    raw: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    unscored_reason: str = ""
    spans: Sequence[Passage] = ()


def submit_feedback(
    token: UUID | str,
    *,
    key: str,
    critique: str,
    deliberation: str = "",
    score: float | str | None = None,
    raw: str = "",
    usage: Mapping[str, Any] | None = None,
    unscored_reason: str = "",
    spans: Sequence[Passage] = (),
    user: Any = None,
    now: datetime | None = None,
) -> Feedback:
    """Hand in one verdict; the same `key` again returns what it brought the first time. See `submit_many`."""
    answer = Answer(read_token(token), key, critique, deliberation, score, raw, usage or {}, unscored_reason, spans)
    return submit_many([answer], user=user, now=now)[0]


def submit_many(answers: Sequence[Answer], *, user: Any = None, now: datetime | None = None) -> list[Feedback]:
    """Hand in verdicts, all or none, and return the feedback in the same order.

    A claim that has ended is no obstacle where its item is still free. Where somebody else has the item by now, or has answered it, or it is
    not wanted any more, the verdict is kept but does not count. Raises `InvalidVerdict` (what is missing, by field), `NotYours`,
    `ClaimLost` (no such claim), `AlreadyAnswered` (the claim has a verdict, under another key).
    """
    now = now or timezone.now()
    try:
        with transaction.atomic():
            claims = _lock_claims(answers, user, now)
            rows = _earlier(answers, claims, user)
            known = {row.key: row for row in rows}
            fresh = [answer for answer in answers if not _landed(answer, claims[answer.token], known)]
            for answer in fresh:
                _validate(answer, claims[answer.token].item)
            if fresh:
                standing = {row.item_id: row.pk for row in rows if row.current and row.author_id == (user.pk if user else None)}
                known |= {row.key: row for row in _store(fresh, claims, standing, user, now)}
    except IntegrityError as exc:  # the constraints saw what these checks could not
        raise AlreadyAnswered("This item was answered at the same moment.") from exc
    # After the commit, and not under a lock on the batch: that would make all its reviewers wait for each other. If this is not reached,
    # the sweep closes the batch.
    close_complete({claims[answer.token].item.batch_id: claims[answer.token].item.batch for answer in answers}.values(), now)
    return [known[answer.key] for answer in answers]


def _lock_claims(answers: Sequence[Answer], user: Any, now: datetime) -> dict[UUID, Claim]:
    tokens, keys = {answer.token for answer in answers}, [answer.key for answer in answers]
    if len(tokens) < len(answers) or not all(0 < len(key) <= KEY_LENGTH and key.isprintable() for key in keys):
        raise ValueError(f"answers need a claim each, and a printable key of 1 to {KEY_LENGTH} characters")
    values = {"tokens": list(tokens), "keys": keys, "user": user.pk if user else None, "today": now.date()}
    with prepared.run(LOCK, values | {"marked": any(answer.spans for answer in answers)}) as cursor:
        found = {claim.token: claim for claim in map(_assemble, cursor.fetchall())}
    if tokens - found.keys():
        raise ClaimLost(UNKNOWN)
    if any(found[token].user_id != (user.pk if user else None) for token in tokens):
        raise NotYours("This item is in somebody else's hands.")
    return found


def _assemble(row: Sequence[Any]) -> Claim:
    """The claim in a row of `LOCK`, with its item, batch, domain and expert; what `LOCK` leaves out is loaded when it is asked for."""
    values = iter(row)
    claim, item, batch, domain, expert = (model.from_db(connection.alias, names, [next(values) for _ in names]) for model, names in LOCKED.items())
    claim.item, item.batch, item.expert, batch.domain = item, batch, expert, domain
    claim.answered, claim.revealed, content, price = values
    claim.price = Price(**json.loads(price, parse_float=Decimal)) if price else None
    if content is not None:
        item.rollout = Rollout.from_db(connection.alias, ("id", "content"), (item.rollout_id, content))
    return claim


def _earlier(answers: Sequence[Answer], claims: Mapping[UUID, Claim], user: Any) -> list[Feedback]:
    """Verdicts under the same keys, and those of the same person on the same items that stand.

    As a rule there are none, which the claims say. Whether one landed while we waited for the lock they do not know, but then they have ended.
    """
    mine: list[Any] = [claims[answer.token] for answer in answers]
    if not any(claim.answered or claim.ended is not None for claim in mine):
        return []
    keys, items = [answer.key for answer in answers], [claim.item_id for claim in mine]
    return list(Feedback.objects.filter(Q(key__in=keys) | Q(item__in=items, author=user, current=True)).order_by("pk"))


def _landed(answer: Answer, claim: Claim, known: Mapping[str, Feedback]) -> bool:
    """Whether this very answer is stored already."""
    if (row := known.get(answer.key)) is not None:
        if row.claim_id != claim.pk:
            raise NotYours("This key belongs to another verdict.")
        return True
    if claim.outcome == Outcome.SUBMITTED:
        raise AlreadyAnswered(feedback=claim.feedback.first())
    return False


def _validate(answer: Answer, item: Item) -> None:
    if errors := _problems(answer, item):
        raise InvalidVerdict(errors)


def _problems(answer: Answer, item: Item) -> dict[str, str]:
    errors = validation.problems(item.batch.domain, critique=answer.critique, score=answer.score, unscored_reason=answer.unscored_reason)
    for passage in answer.spans:
        if problem := validation.passage_problem(item.rollout.content, passage):
            errors["spans"] = problem
    return errors


def _store(answers: Sequence[Answer], claims: Mapping[UUID, Claim], standing: dict[int, int], user: Any, now: datetime) -> list[Feedback]:
    """Rows for `answers`; `standing` are the person's own current verdicts by item."""
    items = lock_items([claims[answer.token].item_id for answer in answers])
    in_hand = {claim.item_id: claim.pk for claim in claims.values() if claim.ended is None}  # by this person, or by this program
    counted = {answer.key: _counts(claims[answer.token], items, in_hand, user) for answer in answers}
    answered = [claims[answer.token].item_id for answer in answers if counted[answer.key]]
    # An extra verdict of the same person makes way for one that counts.
    if replaced := [standing.pop(pk) for pk in answered if pk in standing]:
        Feedback.objects.filter(pk__in=replaced).update(current=False)

    rows = [_row(answer, claims[answer.token], counted[answer.key], claims[answer.token].item_id not in standing, user, now) for answer in answers]
    Feedback.objects.bulk_create(rows)
    Span.objects.bulk_create(_spans(answers, rows))  # no statement where there are none
    ended = [claims[answer.token].pk for answer in answers] + [in_hand[pk] for pk in answered if pk in in_hand]
    charges = [due(row, row.item.batch, claims[answer.token].price) for answer, row in zip(answers, rows, strict=True)]  # type: ignore[attr-defined]
    values = {"now": now, "claims": ended, "done": answered, "items": list(items), "user": user.pk if user else None}
    prepared.run(SETTLE, values | {"charges": json.dumps([charge for charge in charges if charge])}).close()
    audit.record_all(audit.entry(user, "submitted", row.item, feedback=row.pk, counted=row.counted, **audit.where(row.item)) for row in rows)
    batches: dict[int, Batch] = {row.item.batch_id: row.item.batch for row in rows}
    events.batches_changed(batches.values())
    return rows


def _counts(claim: Claim, items: Mapping[int, Item], in_hand: Mapping[int, int], user: Any) -> bool:
    state = items[claim.item_id].state
    if state == State.CLAIMED:
        return claim.item_id in in_hand
    free = state == State.READY and claim.outcome in (Outcome.EXPIRED, Outcome.RELEASED)
    # What the claim held was given back when it ended. A program's verdict is paid for by now, whatever the budgets say.
    return free and (user is None or affords(claim))


def _row(answer: Answer, claim: Claim, counted: bool, current: bool, user: Any, now: datetime) -> Feedback:
    batch = claim.item.batch
    return Feedback(
        item=claim.item,
        expert=claim.item.expert,
        author=user,
        claim=claim,
        key=answer.key,
        counted=counted,
        current=current,
        score=validation.read_score(batch.domain, answer.score, required=False)[0],
        critique=storable(answer.critique),
        deliberation=storable(answer.deliberation),
        raw=storable(answer.raw),
        unscored_reason=storable(answer.unscored_reason)[:REASON_LENGTH],
        assisted=getattr(claim, "revealed", False),
        usage=dict(answer.usage),
        expert_options=snapshot(claim.item.expert) | ({"guidelines": digest_of(batch.domain.guidelines)} if user is not None else {}),
        started=claim.opened or claim.started,
        submitted=now,
    )


def _spans(answers: Sequence[Answer], rows: Sequence[Feedback]) -> list[Span]:
    marked = [(row, passage) for answer, row in zip(answers, rows, strict=True) for passage in answer.spans]
    return [
        Span(feedback=row, start=mark.start, end=mark.end, quote=storable(mark.quote), sign=mark.sign, comment=storable(mark.comment))
        for row, mark in marked
    ]


def revise_feedback(
    feedback: Feedback,
    *,
    key: str,
    user: Any,
    reason: str,
    critique: str,
    deliberation: str = "",
    score: float | str | None = None,
    spans: Sequence[Passage] = (),
) -> Feedback:
    """Correct one's own verdict: a new revision stands in its place and the old one is kept as it was. The same `key` lands once.

    Raises `InvalidVerdict` (also for want of a reason), `NotYours`, `AlreadyAnswered` where a later revision stands already.
    """
    with transaction.atomic():
        related = Item.objects.select_related("batch__domain", "expert", "rollout")
        item = related.select_for_update(of=("self",), no_key=True).get(pk=feedback.item_id)
        if (landed := Feedback.objects.filter(key=key).first()) is not None:
            if (landed.author_id, landed.item_id) != (user.pk if user else None, item.pk):
                raise NotYours("This key belongs to another verdict.")
            return landed
        old = Feedback.objects.get(pk=feedback.pk)
        if user is None or old.author_id != user.pk:
            raise NotYours("Only the person who wrote a verdict can revise it.")
        if not old.current:
            raise AlreadyAnswered("A later revision of this verdict stands already.")
        answer = Answer(UUID(int=0), key, critique, deliberation, score, spans=spans)
        errors = _problems(answer, item)
        if not (reason := storable(reason.strip())):
            errors["reason"] = "Say why you change your verdict."
        elif len(reason) > REVISION_REASON_LENGTH:
            errors["reason"] = f"Keep the reason under {REVISION_REASON_LENGTH} characters; it has {len(reason)}."
        if errors:
            raise InvalidVerdict(errors)
        claim = old.claim or Claim(item=item, started=old.started)
        new = _row(answer, claim, old.counted, True, user, timezone.now())
        new.item, new.claim, new.started, new.revision, new.reason = item, old.claim, new.submitted, old.revision + 1, reason
        new.assisted = Reveal.objects.filter(user=user, rollout=item.rollout_id).exists()
        Feedback.objects.filter(pk=old.pk).update(current=False)
        new.save()
        Span.objects.bulk_create(_spans([answer], [new]))
        audit.record(user, "revised", item, reason=reason, feedback=new.pk, replaces=old.pk, **audit.where(item))
        events.batches_changed([item.batch])
    return new


def reveal(feedback: Feedback, *, user: Any) -> Reveal:
    """Let the writer of `feedback` compare it with what the proxy and others said; what they write on that text from now on is assisted.

    Raises `NotYours`. Asking twice changes nothing.
    """
    if user is None or feedback.author_id != user.pk:
        raise NotYours("Only who has judged a text can compare.")
    with transaction.atomic():
        row, made = Reveal.objects.get_or_create(user=user, rollout_id=feedback.item.rollout_id)
        if made:
            audit.record(user, "revealed", feedback.item, **audit.where(feedback.item))
    return row
