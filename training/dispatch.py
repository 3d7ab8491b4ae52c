"""Handing work to Celery. The database is the truth: what is lost on the way, the sweep finds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from django.db import transaction

log = logging.getLogger(__name__)
_inline: ContextVar[bool] = ContextVar("inline", default=False)


@contextmanager
def inline() -> Iterator[None]:
    """Within, nothing is handed over: this process does the work itself, found from the rows (`training.drive`)."""
    token = _inline.set(True)
    try:
        yield
    finally:
        _inline.reset(token)


def send(task: Any, *args: Any) -> None:
    """Queue a Celery task when the transaction commits. A broker that is down is logged and must not undo what was done."""
    if not _inline.get():
        transaction.on_commit(partial(_send, task, args), robust=True)


def _send(task: Any, args: tuple[Any, ...]) -> None:
    try:
        # No long retries here: a person may be waiting for the page, and the sweep repeats it anyway.
        task.apply_async(args=args, retry=False)
    except Exception as exc:
        log.warning("could not queue %s%r (%s); the sweep will", task.name, args, exc)
