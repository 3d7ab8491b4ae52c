"""News for open pages, through the channel layer. A page must be right without them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from annotation.models import Batch
from annotation.signals import batch_changed

logger = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds that news may take before it is given up


def announce(group: str, payload: dict[str, Any]) -> None:
    """Send `payload` to everyone in `group` (`experiment.NAME`, `batch.ID`, `user.ID`). Never raises: news may get lost.

    Consumers get it as a message of type `announcement` with the key `payload`. Call it after the commit, not inside a transaction.
    """
    try:
        async_to_sync(_send)(group, payload)
    except Exception as exc:  # a page without news is still right, a verdict that fails for want of news is not
        logger.warning("could not announce to %s: %s", group, exc)


async def _send(group: str, payload: dict[str, Any]) -> None:
    # Where there is no running loop (a Celery task), async_to_sync makes one and closes it, and channels_redis closes a loop's connections
    # with the loop. Closing all pools here instead would cut off the web server's own listeners.
    layer = get_channel_layer()
    if layer is not None:
        await asyncio.wait_for(layer.group_send(group, {"type": "announcement", "payload": payload}), PATIENCE)


def batch_touched(batch: Batch) -> None:
    """After the commit: tell pages that the batch's queue looks different."""
    transaction.on_commit(partial(_announce_batch, batch.pk, batch.experiment), robust=True)


def batches_changed(batches: Iterable[Batch]) -> None:
    """After the commit: tell pages and the other apps that verdicts came, or that nothing more will come."""
    for batch in batches:
        transaction.on_commit(partial(_batch_changed, batch.pk, batch.experiment), robust=True)


def queue_grew(user_ids: Iterable[int], batch: Batch) -> None:
    """After the commit: tell people that there is something for them."""
    for user_id in user_ids:
        payload = {"event": "queue.changed", "batch": batch.pk, "experiment": batch.experiment}
        transaction.on_commit(partial(announce, f"user.{user_id}", payload), robust=True)


def _announce_batch(batch_id: int, experiment: str) -> None:
    payload = {"event": "batch.changed", "batch": batch_id, "experiment": experiment}
    announce(f"batch.{batch_id}", payload)
    if experiment:
        announce(f"experiment.{experiment}", payload)


def _batch_changed(batch_id: int, experiment: str) -> None:
    for receiver, response in batch_changed.send_robust(sender=Batch, batch_id=batch_id):
        if isinstance(response, Exception):
            logger.error("%r failed on batch %s", receiver, batch_id, exc_info=response)
    _announce_batch(batch_id, experiment)
