"""What can go wrong between a person or program and the queue. Every message can be shown to a reviewer as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from annotation.models import Draft, Feedback


class AnnotationError(Exception):
    """Something that was asked of the queue cannot be done. The message says why."""


class Invalid(AnnotationError):
    """What was filled in makes no sense. `errors` maps a field's name to what to do about it."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = errors


class NotYours(AnnotationError):
    """The claim, draft or verdict belongs to somebody else."""


class ClaimLost(AnnotationError):
    """There is no such claim, or its lease ended and the item went on to somebody else."""


class AlreadyAnswered(AnnotationError):
    """The claim has its verdict already. `feedback` is that verdict where it is known."""

    def __init__(self, message: str = "This item was already submitted.", *, feedback: Feedback | None = None) -> None:
        super().__init__(message)
        self.feedback = feedback


class DraftConflict(AnnotationError):
    """The draft was saved elsewhere since this copy was loaded. `current` is what is stored now; both texts should be shown."""

    def __init__(self, current: Draft) -> None:
        super().__init__("This draft was changed in another window since you loaded it.")
        self.current = current


class InvalidVerdict(Invalid):
    """What was written does not make a verdict yet."""


class InvalidBudget(Invalid):
    """A limit or price that makes no sense."""


class InvalidExpert(Invalid):
    """An expert that could not be asked as it is set up."""


class InvalidRequest(Invalid):
    """An expert cannot be asked like that."""


class InvalidSelection(AnnotationError):
    """Rollouts, rows or feedback that cannot enter a batch or the tables as they are; the message names them."""


class InvalidDomain(Invalid):
    """What was written does not make a domain yet."""


class Unreadable(AnnotationError):
    """A file that no rows can be read from; the message says what it seems to be and what to do."""


class NothingToDo(AnnotationError):
    """There is nothing left to which the request could apply."""
