"""Experts that answer by batches at their provider, which take up to a day: nobody waits for them, and no crash loses them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection
from django.db.models import Count
from django.utils import timezone

from annotation import actions, querysets
from annotation.actions.budgets import Most
from annotation.actions.waiting import provider_ids
from annotation.models import Batch, Claim, Feedback
from grading.errors import Retry, StillRunning
from grading.models.base import BatchHandle

LONGEST = 600.0  # seconds between two looks
SHARE = 0.1  # of the time that has passed, until the next look: what takes hours is not looked at every half a minute


class Kept(BatchHandle):
    """The batches at the provider for one of our batches, kept in its row. It does not wait for them."""

    def __init__(self, batch: Batch, most: Most | None) -> None:
        super().__init__(patience=0.0)
        self.batch, self.most = batch, most
        self._waiting = self._done = False

    def attend(self) -> bool:
        """Whether nobody else sees to the batch. `leave` must follow."""
        if not actions.attend_provider(self.batch):
            return False
        self.load(self.batch.provider_batches)
        return True

    def take(self) -> list[Claim]:
        """All items of the batch that are not answered, leased; [] where there is nothing left, also at the provider."""
        claims = actions.take_all(self.batch, most=self.most)
        self._done = not claims and querysets.is_complete(self.batch)  # what others hold may come back
        before = asked_before(claims)  # what is asked in one call of the judge stands together
        return sorted(claims, key=lambda claim: (claim.item.slot, before.get(claim.item_id, 0)))

    def wait(self, claims: Sequence[Claim], exc: StillRunning) -> None:
        """Leave them leased until the next look, of which `exc` tells from now on."""
        since = min(claim.started for claim in claims)
        passed = (timezone.now() - since).total_seconds()
        seconds = max(exc.retry.after_seconds, min(LONGEST, SHARE * passed))
        exc.retry = Retry.after(seconds)
        actions.wait_for_provider(self.batch, seconds)
        self._waiting = True

    def leave(self) -> None:
        if not self._waiting:
            actions.leave_provider(self.batch, done=self._done)

    def changed(self) -> None:
        # In the event loop Django lets no query pass. A thread of its own has a connection of its own.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(self._write).result()

    def _write(self) -> None:
        try:
            actions.keep_provider_batches(self.batch, self.state)
        finally:
            connection.close()


def handle(batch: Batch, judge: Any, most: Most | None) -> Kept | None:
    """For a judge that takes batches; None for others. `most` as in `claim_next`."""
    return Kept(batch, most) if getattr(judge, "takes_batches", False) else None


def asked_before(claims: Sequence[Claim]) -> dict[int, int]:
    """By item, how many verdicts a program gave on it already: who asks again wants another answer, not the same."""
    rows = Feedback.objects.filter(item__in=[claim.item_id for claim in claims], author=None).order_by()
    return dict(rows.values_list("item").annotate(n=Count("pk")))


def words(batch: Batch) -> str:
    """What the provider has of the batch, and when it is looked at; "" where it has nothing."""
    ids = provider_ids(batch.provider_batches)
    if not ids or batch.closed is not None:
        return ""
    where = f"Asked by {len(ids)} batch{'es' if len(ids) > 1 else ''} at the provider, which may take a day"
    if batch.provider_look is None or batch.provider_look <= timezone.now():
        return f"{where}; looked at next within a minute."
    return f"{where}; looked at next at {batch.provider_look:%H:%M} UTC."
