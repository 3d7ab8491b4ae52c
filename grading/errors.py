"""What can go wrong between a text and its verdict."""

from __future__ import annotations

from dataclasses import dataclass


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
    """A verdict could not be had for reasons outside the text. `retry` says whether and when to try again."""

    def __init__(self, message: str, *, retry: Retry) -> None:
        super().__init__(message)
        self.retry = retry


class GraderRefused(GraderError):
    """The model declined to grade this text; asking again gives the same answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry=Retry.never())
