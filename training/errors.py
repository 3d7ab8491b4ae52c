"""What can go wrong with an experiment, in words for the person who asked."""

from __future__ import annotations


class ExperimentError(Exception):
    """An experiment cannot do what was asked. The message says why and what to do."""


class InvalidExperiment(ExperimentError):
    """What was filled in does not make an experiment. `errors` maps field names to messages."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(f"{field}: {message}" for field, message in errors.items()))
        self.errors = errors


class WrongState(ExperimentError):
    """The experiment is not in a state in which this can be done."""


class StageFailed(ExperimentError):
    """A stage cannot be carried out as things are. `advice` says what would mend it; the experiment can be resumed then."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice

    @property
    def note(self) -> str:
        return f"{self} {self.advice}".strip()
