"""The queries that matter, each named for its question."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from annotation.models import Batch, Budget, Claim, Expert, Feedback, Item, Outage
from annotation.routing import AUDIT_SLOT

OPEN = (Item.State.READY, Item.State.CLAIMED)


def batches_for(*, user: Any = None, expert: Expert | None = None) -> QuerySet[Batch]:
    """Batches that wait for this person (as a member of a panel) or for this expert.

    Reward batches wait for nobody: their verdicts come from the training job that they reward.
    """
    batches = Batch.objects.filter(closed=None).exclude(purpose=Batch.Purpose.REWARD)
    return batches.filter(experts__in=_asked(user, expert)).distinct()


def _asked(user: Any, expert: Expert | None) -> QuerySet[Expert]:
    active = Expert.objects.filter(active=True)
    return active.filter(pk=expert.pk) if expert is not None else active.filter(kind=Expert.Kind.HUMAN, members=user)


def usable_by(user: Any) -> QuerySet[Expert]:
    """Experts whom `user` may have judge something; None: whoever works on the server."""
    active = Expert.objects.filter(active=True)
    return active if user is None or user.is_superuser else active.filter(Q(users=None) | Q(users=user)).distinct()


def limiting(expert: Any, experiment: Any, user: Any) -> Q:
    """Of budgets: those in force that limit what `user` (None: nobody in particular) does for an expert and an experiment."""
    return Q(Q(expert=None) | Q(expert=expert), Q(experiment="") | Q(experiment=experiment), Q(user=None) | Q(user=user), ended=None)


def used_up(user: Any) -> Q:
    """Of items: those that a hard budget lets nobody, or not `user`, judge any more."""
    limits = limiting(OuterRef("expert"), OuterRef("batch__experiment"), user)
    return Q(Exists(Budget.objects.filter(limits, hard=True, spent__gte=F("limit"))))


def claimable_by(*, user: Any = None, expert: Expert | None = None) -> QuerySet[Item]:
    """Items that could be handed to this person or expert now, in no particular order."""
    items = Item.objects.filter(~used_up(user), state=Item.State.READY, expert__in=_asked(user, expert))
    return fit_for(user, items).filter(batch__in=batches_for(user=user, expert=expert))


def fit_for(user: Any, items: QuerySet[Item]) -> QuerySet[Item]:
    """Those of `items` that this person may get: on rollouts that they have neither declined nor in hand nor judged in the same batch.

    A hidden repeat is the other way round: it goes to who has judged the rollout. An item with a name on it goes to nobody else. A program
    takes all.
    """
    if user is None:
        return items
    same = Q(item__batch=OuterRef("batch"), item__rollout=OuterRef("rollout"))
    met = Claim.objects.filter(same, Q(ended=None) | Q(outcome=Claim.Outcome.DECLINED), user=user)
    judged = Feedback.objects.filter(same, author=user, current=True)
    repeated = Q(control=Item.Control.REPEAT)
    return items.filter(Q(reviewer=None) | Q(reviewer=user), ~Exists(met)).filter((repeated & Exists(judged)) | (~repeated & ~Exists(judged)))


def stale(now: datetime) -> QuerySet[Claim]:
    """Open claims whose lease has run out."""
    return Claim.objects.filter(ended=None, expires__lt=now)


def outstanding(batch: Batch) -> QuerySet[Item]:
    """Items of the batch that still want a verdict. Controls are not waited for."""
    return Item.objects.filter(batch=batch, state__in=OPEN, control="")


def is_complete(batch: Batch) -> bool:
    """Whether no more verdicts will come: all are in, or the rest is not wanted any more."""
    # State by state, since each has an index of its own; in one query the planner would walk over all that are done.
    return not any(Item.objects.filter(batch=batch, state=state, control="").exists() for state in OPEN)


def verdicts(batch: Batch) -> QuerySet[Feedback]:
    """The verdicts of the batch that stand and count, one per item, in order of the items; those on controls measure who wrote them.

    Where somebody audited a text, their verdict alone.
    """
    found = Feedback.objects.filter(item__batch=batch, item__control="", current=True, counted=True).order_by("item__position", "item_id")
    if batch.expert.kind != Expert.Kind.MIXED:
        return found
    audits = found.order_by().filter(item__slot=AUDIT_SLOT, item__rollout=OuterRef("item__rollout"))
    return found.exclude(~Q(item__slot=AUDIT_SLOT) & Exists(audits))


def stranded(batch: Batch) -> QuerySet[Item]:
    """Ready items of a human batch that every member of the panel has judged or declined: somebody must join, or the batch be closed."""
    items = outstanding(batch).filter(state=Item.State.READY, expert__kind=Expert.Kind.HUMAN)
    stuck = items
    for panel in batch.experts.filter(kind=Expert.Kind.HUMAN):
        for member in panel.members.filter(is_active=True):
            stuck = stuck.exclude(pk__in=fit_for(member, items.filter(expert=panel)).values("pk"))
    return stuck


def complete() -> QuerySet[Batch]:
    """Open batches in which nothing is outstanding: what was to close them got lost."""
    items = Item.objects.filter(batch=OuterRef("pk"), control="")
    nothing = [~Exists(items.filter(state=state)) for state in OPEN]  # state by state, as in `is_complete`
    return Batch.objects.filter(*nothing, closed=None).exclude(purpose=Batch.Purpose.REWARD)


def unattended(now: datetime) -> QuerySet[Batch]:
    """Batches with items for programs and language models that wait while nobody works on any, or whose provider is to be looked at again.

    Experts that rest are left alone.
    """
    batches = Batch.objects.filter(closed=None).exclude(purpose=Batch.Purpose.REWARD)
    rests = Q(batch=None) | Q(batch=OuterRef("batch"))
    ready = Item.objects.filter(batch=OuterRef("pk"), state=Item.State.READY, expert__active=True, expert__kind__in=Expert.ALONE)
    ready = ready.exclude(Exists(resting(now).filter(rests, expert=OuterRef("expert"))))
    held = Claim.objects.filter(item__batch=OuterRef("pk"), user=None, ended=None, expires__gte=now)
    same = Q(batch=None) | Q(batch=OuterRef("pk"))
    due = Q(provider_look__lte=now) & ~Exists(resting(now).filter(same, expert__asked_in=OuterRef("pk")))
    return batches.filter(Q(Exists(ready), ~Exists(held), provider_look=None) | due)


def outages(batch: Batch) -> QuerySet[Outage]:
    """Why the batch's expert may not be asked, the longest rest first."""
    return Outage.objects.filter(Q(batch=None) | Q(batch=batch), expert=batch.expert_id).order_by("-not_before")


def resting(now: datetime) -> QuerySet[Outage]:
    """Experts that are not to be asked now, by others than the one who tries already."""
    return Outage.objects.filter(Q(not_before__gt=now) | Q(probe_until__gt=now))
