"""A progress bar for commands."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def progress(rows: Iterable[T], label: str, total: int | None = None) -> Iterable[T]:
    """`rows`, with a bar on stderr while they are gone through; without one where stderr is no terminal."""
    if not sys.stderr.isatty():
        return rows
    return track(rows, description=label, total=total, console=Console(stderr=True), transient=True)
