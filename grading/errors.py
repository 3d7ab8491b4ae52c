"""What can go wrong between a text and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class ConfigurationError(ValueError):
    """Something is set up wrongly. Trying again does not help; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Whether the same call may be made again, and after how many seconds at the earliest."""

    allowed: bool
    after_seconds: float = 0.0

    @classmethod
    def never(cls) -> Retry:
        return cls(False)

    @classmethod
    def after(cls, seconds: float = 0.0) -> Retry:
        return cls(True, seconds)


class GraderError(Exception):
    """A verdict could not be had for reasons outside the text. `retry` says whether and when to try again.

    `partial` is what was had nevertheless, in place of what would have been returned: completions by request from a language model, verdicts by
    case from a judge, None for each that is missing; empty where there is nothing. It is paid for, so keep it and ask for the rest.
    """

    def __init__(self, message: str, *, retry: Retry, partial: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.retry = retry
        self.partial = list(partial)


class StillRunning(GraderError):
    """A batch at the provider has not ended yet. Nothing is wrong: hand the same requests and the same batch ids in again later."""


class GraderRefused(GraderError):
    """The model declined to grade this text; asking again gives the same answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry=Retry.never())
