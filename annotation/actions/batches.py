"""Asking for verdicts, and no longer asking."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotation import controls, events, querysets
from annotation.actions import audit, budgets
from annotation.actions.claims import release_many
from annotation.errors import InvalidSelection, NothingToDo
from annotation.models import Batch, Claim, Domain, Expert, Feedback, Item, Rollout
from annotation.routing import rule_of
from annotation.text import storable

logger = logging.getLogger(__name__)

MOST_CONTROLS = 0.5
HIGHEST_PRIORITY = 1000

# People's leases follow their writing: the page renews them while somebody is there.
LEASE_SECONDS = {Expert.Kind.HUMAN: 300, Expert.Kind.LLM: 600, Expert.Kind.PROGRAM: 60, Expert.Kind.MIXED: 600}
State = Item.State


def select_batch(
    *,
    key: str,
    title: str,
    domain: Domain,
    expert: Expert,
    purpose: str,
    rollouts: Sequence[int],
    strategy: str = "random",
    seed: int = 0,
    experiment: str = "",
    proxy: str = "",
    note: str = "",
    lease_seconds: int | None = None,
    priority: int = 0,
    reviewers: int = 1,
    named: Sequence[Any] = (),
    repeat_share: float = 0.0,
    gold_share: float = 0.0,
    actor: Any = None,
) -> Batch:
    """Ask `expert` for `reviewers` verdicts on each of `rollouts`, in this order. The same `key` again returns the batch there is.

    Where the expert stands for several, its rule says who gets what (`annotation.routing`).

    `strategy`, `seed` and `proxy` (a digest) record how they were selected. `lease_seconds` None: by the kind of expert. `named` people get
    one item each on every rollout, instead of whoever comes. `repeat_share` and `gold_share` (0..0.5 of the verdicts wanted) add controls,
    see `annotation.controls`. Programs and language models are set to work after the commit. A batch for `reward` may be empty:
    `record_reward_verdicts` fills it. Raises `InvalidSelection` for rollouts that are unknown or of another domain, for none at all, for
    fewer than one reviewer, for named people who are not on the panel, and for shares out of range.
    """
    reviewers = len(named) or reviewers
    wanted = list(dict.fromkeys(rollouts))
    with transaction.atomic():
        defaults: dict[str, Any] = {
            "title": title,
            "domain": domain,
            "expert": expert,
            "purpose": purpose,
            "strategy": strategy,
            "seed": seed,
            "experiment": experiment,
            "proxy": proxy,
            "note": storable(note),
            "priority": priority,
            "lease_seconds": LEASE_SECONDS[Expert.Kind(expert.kind)] if lease_seconds is None else lease_seconds,
            "repeat_share": repeat_share,
            "gold_share": gold_share,
        }
        if not (0 <= repeat_share <= MOST_CONTROLS and 0 <= gold_share <= MOST_CONTROLS):
            raise InvalidSelection(f"Hidden repeats and gold items can each make up 0 to {MOST_CONTROLS:.0%} of a batch.")
        batch, made = Batch.objects.get_or_create(key=key, defaults=defaults)
        if not made:
            return batch
        rule = rule_of(expert)
        _check(batch, wanted, reviewers, named)
        batch.experts.set(rule.experts)
        if rule.hours:
            batch.deadline = timezone.now() + timedelta(hours=rule.hours)
            batch.save(update_fields=["deadline"])
        asked = rule.ask(wanted, reviewers, Random(f"{seed} shares"))
        queue = controls.plan(asked, gold=controls.gold_for(batch, wanted), repeat_share=repeat_share, gold_share=gold_share, rng=Random(seed))
        items = (
            Item(
                batch=batch,
                rollout_id=a.rollout,
                expert_id=a.expert,
                slot=a.slot,
                control=a.control,
                reviewer=named[a.slot] if named and not a.control else None,
                position=i,
            )
            for i, a in enumerate(queue)
        )
        Item.objects.bulk_create(items, batch_size=5000)
        added = len(queue) - len(asked)
        audit.record(
            actor, "selected", batch, items=len(asked), controls=added, strategy=strategy, seed=seed, expert=expert.alias, experiment=experiment
        )
        _invite(batch)
    return batch


def _check(batch: Batch, wanted: Sequence[int], reviewers: int, named: Sequence[Any]) -> None:
    panel = set(batch.expert.members.values_list("pk", flat=True)) if named else set()
    if strangers := [person.get_username() for person in named if person.pk not in panel]:
        raise InvalidSelection(f"{', '.join(strangers)} cannot be asked: not on the panel {batch.expert.name}.")
    if batch.expert.kind == Expert.Kind.MIXED and (reviewers > 1 or named):
        raise InvalidSelection(f"{batch.expert.name} stands for several experts: its rule says how many verdicts a text gets, and whose.")
    if reviewers < 1:
        raise InvalidSelection(f"{reviewers} reviewers were asked for; ask for one or more.")
    if not wanted and batch.purpose != Batch.Purpose.REWARD:
        raise InvalidSelection("No rollouts were selected: there is nothing to ask the expert about.")
    fit = set(Rollout.objects.filter(pk__in=wanted, prompt__domain=batch.domain).values_list("pk", flat=True))
    if unfit := [pk for pk in wanted if pk not in fit]:
        some = ", ".join(map(str, unfit[:5])) + (" and more" if len(unfit) > 5 else "")
        raise InvalidSelection(f"{len(unfit)} of {len(wanted)} rollouts are unknown or not of the domain {batch.domain}: {some}.")


def _invite(batch: Batch) -> None:
    for expert in batch.experts.all():
        if expert.kind == Expert.Kind.HUMAN:
            events.queue_grew(expert.members.values_list("pk", flat=True), batch)
    if batch.purpose != Batch.Purpose.REWARD and batch.experts.filter(kind__in=Expert.ALONE).exists():
        transaction.on_commit(partial(start_answering, batch.pk), robust=True)


def start_answering(batch_id: int) -> None:
    """Send the task that has a program or language model answer the batch. Where the broker is away, the sweep sends it later."""
    from annotation.tasks import answer_batch  # the task uses these actions

    try:
        # One that waits longer is dropped: the sweep sends another, and they do not pile up behind a busy worker.
        answer_batch.apply_async((batch_id,), retry=False, expires=60)
    except Exception as exc:
        logger.warning("could not send the task that answers batch %s, the sweep will: %s", batch_id, exc)


def close_batch(batch: Batch, *, actor: Any = None, reason: str = "", now: datetime | None = None) -> Batch:
    """Want nothing more of the batch. Who is writing may still submit, as an extra verdict. Closing twice changes nothing."""
    with transaction.atomic():
        batch = _lock([batch.pk])[0]
        cancelled = _cancel_open(batch)
        if batch.closed is None:
            _close(batch, now or timezone.now())
            audit.record(actor, "closed", batch, reason=reason, cancelled=cancelled, experiment=batch.experiment)
            events.batches_changed([batch])
    return batch


def close_complete(batches: Iterable[Batch], now: datetime | None = None) -> int:
    """Close those in which nothing is outstanding; how many were. Controls that are left are not asked any more.

    A reward batch is closed by whoever fills it.
    """
    closed = 0
    for batch in batches:
        if batch.closed is not None or batch.purpose == Batch.Purpose.REWARD or not querysets.is_complete(batch):
            continue
        with transaction.atomic():
            locked = _lock([batch.pk])[0]
            if locked.closed is None and querysets.is_complete(locked):
                _cancel_open(locked)
                _close(locked, now or timezone.now())
                audit.record(None, "completed", locked, experiment=locked.experiment)
                events.batches_changed([locked])
                closed += 1
    return closed


def _cancel_open(batch: Batch) -> int:
    items = Item.objects.filter(batch=batch, state__in=querysets.OPEN).order_by("pk")
    open_items = list(items.select_for_update(no_key=True).values_list("pk", flat=True))
    return Item.objects.filter(pk__in=open_items).update(state=State.CANCELLED)


def end_early(batch: Batch, expert: Expert, *, reason: str) -> int:
    """Ask `expert` for nothing more of the batch: what is in nobody's hands is not wanted any more, and what comes in stays. How much that was."""
    with transaction.atomic():
        locked = _lock([batch.pk])[0]
        ready = Item.objects.filter(batch=batch, expert=expert, state=State.READY).order_by("pk").select_for_update(skip_locked=True, no_key=True)
        cancelled = Item.objects.filter(pk__in=list(ready.values_list("pk", flat=True))).update(state=State.CANCELLED)
        if cancelled:
            audit.record(None, "ended early", locked, reason=reason, cancelled=cancelled, expert=expert.alias, experiment=locked.experiment)
            events.batches_changed([locked])
    close_complete([locked])
    return cancelled


def step_in(items: QuerySet[Item], expert: Expert) -> int:
    """From now on `expert` is asked about those of `items` that nobody has in hand; how many that were."""
    with transaction.atomic():
        ready = items.filter(state=State.READY).select_related("batch").order_by("pk")
        found = list(ready.select_for_update(of=("self",), skip_locked=True, no_key=True))
        Item.objects.filter(pk__in=[item.pk for item in found]).update(expert=expert)
        audit.record_all(audit.entry(None, "rerouted", item, before=item.expert_id, to=expert.pk, **audit.where(item)) for item in found)
        for batch in {item.batch_id: item.batch for item in found}.values():
            batch.experts.add(expert)  # a rule may name others than when the batch was made
            _invite(batch)
    return len(found)


def reroute(now: datetime) -> int:
    """What every member of a panel has declined or judged, or what people left when the deadline passed, goes to who steps in; how many texts.

    By the rule as it stands now. Where that can be followed no more, the texts stay where they are.
    """
    moved = 0
    for batch in Batch.objects.filter(closed=None, expert__options__rule="fallback").select_related("expert"):
        try:
            first, then = rule_of(batch.expert).experts
        except InvalidSelection as exc:
            logger.warning("nobody steps in for people in batch %s, since the rule of %s does not work: %s", batch.pk, batch.expert, exc)
            continue
        left = Item.objects.filter(batch=batch, expert=first) if batch.deadline and batch.deadline <= now else querysets.stranded(batch)
        moved += step_in(left, then)
    return moved


def end_exhausted() -> int:
    """End early what used-up budgets limit; how many texts are not asked about any more."""
    ended = 0
    for budget in budgets.exhausted():
        waiting = budgets.waiting_under(budget).order_by("batch", "expert").values_list("batch", "expert").distinct()
        for batch, expert in list(waiting):
            ended += end_early(Batch.objects.get(pk=batch), Expert.objects.get(pk=expert), reason=f"The budget is used up: {budget}.")
    return ended


def _close(batch: Batch, now: datetime) -> None:
    batch.closed = now
    batch.save(update_fields=["closed"])


def reassign(item: Item, person: Any, *, actor: Any, reason: str = "") -> Item:
    """From now on only `person` gets this item; None: whoever comes. Who has it in hand loses it, and their draft stays.

    Raises `NothingToDo` where the item waits for no verdict, `InvalidSelection` where the person is not on the panel or cannot be asked
    about this text (declined it, or has judged it in this batch).
    """
    with transaction.atomic():
        claim = Claim.objects.filter(item=item, ended=None).select_for_update(no_key=True).first()
        item = Item.objects.select_related("batch", "expert").select_for_update(of=("self",), no_key=True).get(pk=item.pk)
        if item.state not in querysets.OPEN:
            raise NothingToDo("This item waits for no verdict.")
        if person is not None and not item.expert.members.filter(pk=person.pk).exists():
            raise InvalidSelection(f"{person.get_username()} is not on the panel {item.expert.name}.")
        before, item.reviewer = item.reviewer_id, person
        Item.objects.filter(pk=item.pk).update(reviewer=person)
        if claim is not None and (person is None or claim.user_id != person.pk):
            release_many([claim.token], actor=actor, reason=reason)
            claim = None
        if person is not None and claim is None and not querysets.fit_for(person, Item.objects.filter(pk=item.pk)).exists():
            raise InvalidSelection(f"{person.get_username()} has declined or judged this text already.")
        audit.record(actor, "reassigned", item, reason=reason, before=before, to=person.pk if person else None, **audit.where(item))
        events.batches_changed([item.batch])
        _invite(item.batch)
    return item


def reopen(item: Item, *, actor: Any, reason: str) -> Item:
    """Ask for a verdict on this item again: the one it has is kept but stands no longer. Its batch is open again.

    Raises `NothingToDo` where the item waits for a verdict already.
    """
    with transaction.atomic():
        batch = _lock([item.batch_id])[0]
        item = Item.objects.select_for_update(no_key=True).get(pk=item.pk)
        if item.state in querysets.OPEN:
            raise NothingToDo("This item waits for a verdict already.")
        replaced = list(Feedback.objects.filter(item=item, current=True, counted=True).values_list("pk", flat=True))
        Feedback.objects.filter(pk__in=replaced).update(current=False)
        before = {"state": str(item.state), "feedback": replaced}
        item.state = State.READY
        item.save(update_fields=["state"])
        if batch.closed is not None:
            batch.closed = None
            batch.save(update_fields=["closed"])
        audit.record(actor, "reopened", item, reason=reason, before=before, **audit.where(item, batch))
        events.batches_changed([batch])
        _invite(batch)
    return item


def set_priority(batch: Batch, priority: int, *, actor: Any) -> Batch:
    """Put the batch before those of lower `priority` (-1000..1000) in the queue; what is in somebody's hands stays there.

    Raises `InvalidSelection` for a priority out of range, `NothingToDo` where the batch is closed.
    """
    if not -HIGHEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise InvalidSelection(f"A priority is a whole number from -{HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}, not {priority}.")
    with transaction.atomic():
        batch = _lock([batch.pk])[0]
        if batch.closed is not None:
            raise NothingToDo("This batch is closed: nobody is asked, so its priority changes nothing.")
        if batch.priority != priority:
            before, batch.priority = batch.priority, priority
            batch.save(update_fields=["priority"])
            audit.record(actor, "prioritised", batch, before=before, to=priority, experiment=batch.experiment)
            events.batch_touched(batch.pk, batch.experiment)
    return batch


def lock_batches(ids: Iterable[int]) -> dict[int, Batch]:
    """The batches by id, locked in that order."""
    return {batch.pk: batch for batch in _lock(ids)}


def _lock(ids: Iterable[int]) -> list[Batch]:
    batches = Batch.objects.filter(pk__in=list(ids)).select_related("domain", "expert").order_by("pk")
    return list(batches.select_for_update(of=("self",), no_key=True))
