"""What can go wrong in a training job, in plain words."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from grading.errors import ConfigurationError, GraderError
from grading.secrecy import hiding, hush

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# safetensors and torch.save report a full disk as text only, and torch.save not even by name
FULL_WORDS = (
    "no space left on device",
    "disk quota exceeded",
    "file too large",
    "os error 28",
    "os error 27",
    "pytorchstreamwriter failed",
    "iostream error",
    "inline_container.cc",
)
GONE_WORDS = ("connection closed by peer", "connection reset by peer")  # gloo's, within a RuntimeError


class JobError(Exception):
    """A job cannot go on: what is wrong, and what to do about it. `details` are added to result.json."""

    def __init__(self, error: str, advice: str, **details: Any) -> None:
        super().__init__(error)
        self.error, self.advice, self.details = error, advice, details


def explain(exc: BaseException, folder: Path) -> tuple[str, str]:
    """What happened and what to do, for any exception that ended the job in `folder`. Keys go out of its words: they end up in files and on pages."""
    hide = hiding()
    hush(exc, hide)
    error, advice = _explain(exc, folder)
    return hide(error), advice


def _explain(exc: BaseException, folder: Path) -> tuple[str, str]:
    again = "Then run the job again: it goes on from its last checkpoint."
    if isinstance(exc, JobError):
        return exc.error, exc.advice
    chain = list(_chain(exc))
    if any(map(_disk_full, chain)):
        return f"no space left on the device of {folder}", f"Free space there; everything saved before is intact. {again}"
    if any(isinstance(e, MemoryError) or type(e).__name__ == "OutOfMemoryError" or "out of memory" in str(e).lower() for e in chain):
        return f"out of memory: {exc}", f"Use a machine with more memory, fewer rollouts per pass (device_batch) or shorter texts. {again}"
    if isinstance(exc, RuntimeError) and any(words in str(exc).lower() for words in GONE_WORDS):
        return "another process of this job ended", f"log.txt says why: it may have had too little memory. {again}"
    if isinstance(exc, ConfigurationError):
        return str(exc), "Correct the configuration and start again."
    if isinstance(exc, GraderError):
        return f"the judge failed: {exc}", (f"Wait until it answers. {again}" if exc.retry.allowed else "Correct what it complains of.")
    if isinstance(exc, PermissionError):
        return f"not allowed: {exc}", f"Give this user access. {again}"
    return f"{type(exc).__name__}: {exc}", "This was not foreseen; log.txt has the details. Running the job again goes on from its last checkpoint."


def _chain(exc: BaseException | None) -> Any:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


def _disk_full(exc: BaseException) -> bool:
    if isinstance(exc, OSError) and exc.errno in FULL:
        return True
    return any(words in str(exc).lower() for words in FULL_WORDS)
