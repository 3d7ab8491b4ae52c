"""News for open pages, through the channel layer. A page must be right without them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from annotation.models import Batch
from annotation.signals import batch_changed

logger = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds that news may take before it is given up
PAUSE = 1.0  # seconds between two announcements of one kind about one batch: where much happens pages hear of it now and then, not each time
MOST_HEARD = 10_000

Topic = tuple[int, bool]  # a batch, and whether it is about verdicts
_heard: dict[Topic, float] = {}  # when it was last announced
_due: set[Topic] = set()  # what will be announced at the end of the pause
_lock = threading.Lock()


def announce(group: str, payload: dict[str, Any]) -> None:
    """Send `payload` to everyone in `group` (`experiment.NAME`, `batch.ID`, `user.ID`). Never raises: news may get lost.

    Consumers get it as a message of type `announcement` with the key `payload`. Call it after the commit, not inside a transaction.
    """
    _announce([group], payload, async_to_sync(_send))


def _announce(groups: list[str], payload: dict[str, Any], send: Callable[[list[str], dict[str, Any]], None]) -> None:
    try:
        send(groups, payload)
    except Exception as exc:  # a page without news is still right, a verdict that fails for want of news is not
        logger.warning("could not announce to %s: %s", " and ".join(groups), exc)


async def _send(groups: list[str], payload: dict[str, Any]) -> None:
    # Where there is no running loop (a Celery task), async_to_sync makes one and closes it, and channels_redis closes a loop's connections
    # with the loop. Closing all pools here instead would cut off the web server's own listeners.
    layer = get_channel_layer()
    if layer is not None:
        async with asyncio.timeout(PATIENCE):
            for group in groups:
                await layer.group_send(group, {"type": "announcement", "payload": payload})


def _run_anew(groups: list[str], payload: dict[str, Any]) -> None:
    asyncio.run(_send(groups, payload))


def batch_touched(batch_id: int, experiment: str) -> None:
    """After the commit: tell pages that the batch's queue looks different."""
    transaction.on_commit(partial(_announce_batch, batch_id, experiment), robust=True)


def batches_changed(batches: Iterable[Batch]) -> None:
    """After the commit: tell pages and the other apps that verdicts came, or that nothing more will come."""
    for batch in batches:
        transaction.on_commit(partial(_batch_changed, batch.pk, batch.experiment, batch.closed is not None), robust=True)


def queue_grew(user_ids: Iterable[int], batch: Batch) -> None:
    """After the commit: tell people that there is something for them."""
    for user_id in user_ids:
        payload = {"event": "queue.changed", "batch": batch.pk, "experiment": batch.experiment}
        transaction.on_commit(partial(announce, f"user.{user_id}", payload), robust=True)


def _announce_batch(batch_id: int, experiment: str, verdicts: bool = False, due: bool = False) -> None:
    """At once, or, where the pause is not over, at its end: the last word is never lost."""
    topic, now = (batch_id, verdicts), time.monotonic()
    with _lock:
        wait = _heard.get(topic, 0.0) + PAUSE - now
        if due:
            _due.discard(topic)
        elif topic in _due:
            return
        elif wait > 0:
            _due.add(topic)
            threading.Timer(wait, _announce_batch, (batch_id, experiment, verdicts, True)).start()
            return
        if len(_heard) > MOST_HEARD:
            _heard.clear()
        _heard[topic] = now
    payload = {"event": "batch.changed", "batch": batch_id, "experiment": experiment}
    # A timer's thread may outlive the interpreter's thread pools, which async_to_sync needs.
    groups = [f"batch.{batch_id}"] + ([f"experiment.{experiment}"] if experiment else [])
    _announce(groups, payload, _run_anew if due else async_to_sync(_send))


def _batch_changed(batch_id: int, experiment: str, closed: bool) -> None:
    for receiver, response in batch_changed.send_robust(sender=Batch, batch_id=batch_id, closed=closed):
        if isinstance(response, Exception):
            logger.error("%r failed on batch %s", receiver, batch_id, exc_info=response)
    _announce_batch(batch_id, experiment, verdicts=True)
