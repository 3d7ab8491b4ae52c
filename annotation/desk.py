"""What a reviewer's pages show, read from the rows. Writes nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from annotation import querysets
from annotation.models import Batch, Claim, Feedback, Item

# Said to people who do not know what a proxy is; no step and no model, so that the verdict stays blind.
PURPOSES = {
    Batch.Purpose.INITIAL: "to teach the grader",
    Batch.Purpose.UPDATE: "to teach the grader anew",
    Batch.Purpose.VALIDATION: "to test the grader",
    Batch.Purpose.CHECK: "to check the writer's progress",
    Batch.Purpose.EVAL: "to measure the writer's progress",
    Batch.Purpose.CALIBRATION: "to measure how steady verdicts are",
    Batch.Purpose.REWARD: "to reward the writer",
}
REASONS = {
    "random": "Chosen at random.",
    "max-variance": "Chosen where the grader is least sure.",
    "max-disagreement": "Chosen where the grader and you may disagree most.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One batch as one person sees it; counts are in items."""

    batch: Batch
    total: int
    done: int
    left: int  # ready, and this person may take them
    mine: int
    mine_today: int
    open_token: uuid.UUID | None

    @property
    def purpose(self) -> str:
        return PURPOSES[Batch.Purpose(self.batch.purpose)]

    @property
    def why(self) -> str:
        teaching = self.batch.purpose in (Batch.Purpose.INITIAL, Batch.Purpose.UPDATE)
        return self.batch.note or (REASONS.get(self.batch.strategy, "") if teaching else "")


def batches_of(user: Any) -> QuerySet[Batch]:
    """The batches of the panels that `user` is a member of."""
    return Batch.objects.filter(expert__kind="human", expert__members=user).select_related("domain", "expert")


def queue(user: Any) -> list[Row]:
    """The batches that wait for somebody, those first in which this person can do something."""
    waiting = querysets.batches_for(user=user).select_related("domain")
    rows = describe(user, waiting)
    return sorted(rows, key=lambda row: (row.open_token is None, row.left == 0))


def describe(user: Any, batches: Iterable[Batch]) -> list[Row]:
    """A row for each batch, in a fixed number of queries."""
    found = list(batches)
    ids = [batch.pk for batch in found]
    items = Item.objects.filter(batch__in=ids).exclude(state=Item.State.CANCELLED).values("batch")
    counts: dict[int, dict[str, Any]] = {
        row["batch"]: dict(row) for row in items.annotate(total=Count("pk"), done=Count("pk", filter=Q(state=Item.State.DONE)))
    }
    left = dict(_takeable(user, ids).values_list("batch").annotate(n=Count("rollout", distinct=True)))
    mine: dict[int, dict[str, Any]] = {row["item__batch"]: dict(row) for row in _written(user, ids)}
    tokens = dict(open_claims(user).filter(item__batch__in=ids).values_list("item__batch", "token"))
    return [
        Row(
            batch,
            counts.get(batch.pk, {}).get("total", 0),
            counts.get(batch.pk, {}).get("done", 0),
            left.get(batch.pk, 0),
            mine.get(batch.pk, {}).get("total", 0),
            mine.get(batch.pk, {}).get("today", 0),
            tokens.get(batch.pk),
        )
        for batch in found
    ]


def open_claims(user: Any) -> QuerySet[Claim]:
    """The text in this person's hands, if there is one. Its lease may have run out: it is theirs until somebody else takes it."""
    return Claim.objects.filter(user=user, ended=None)


def verdicts_today(user: Any) -> int:
    return Feedback.objects.filter(author=user, revision=1, submitted__gte=_midnight()).count()


def _takeable(user: Any, batches: list[int]) -> QuerySet[Item]:
    """Items of these batches that this person could be handed now; those whose lease ran out count, they are freed in passing."""
    lapsed = Q(state=Item.State.CLAIMED, claims__ended=None, claims__expires__lt=timezone.now())
    free = Item.objects.filter(Q(state=Item.State.READY) | lapsed, batch__in=batches, batch__closed=None)
    return querysets.fit_for(user, free).order_by()


def _written(user: Any, batches: list[int]) -> Iterable[Any]:
    rows = Feedback.objects.filter(author=user, current=True, item__batch__in=batches).order_by().values("item__batch")
    return rows.annotate(total=Count("pk"), today=Count("pk", filter=Q(submitted__gte=_midnight())))


def _midnight() -> Any:
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
