"""The values that pass between graders, experts and trainers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Case:
    """One text to judge.

    `instructions` is what the writer was asked to do, `content` what came back.
    """

    instructions: str
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that verdicts cost; adds up. The four kinds have prices of their own and no token is counted twice.

    `input_tokens` were read at the full price, `cache_read_tokens` came from a prompt cache and `cache_write_tokens` were put into one.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )

    @property
    def read_tokens(self) -> int:
        """All tokens that were read, cached or not."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens


@dataclass(frozen=True, slots=True)
class Verdict:
    """The parsed form of a grading trace.

    `score` is None where there is none to trust, and `unscored_reason` then says why; a failure
    is never a score of 0. `samples` holds the single verdicts where this one is their mean, and `models` the ids of the language models that
    wrote them, as their servers resolved them.
    """

    score: float | None
    critique: str = ""
    deliberation: str = ""
    raw: str = ""
    usage: Usage = Usage()
    unscored_reason: str = ""
    samples: tuple[Verdict, ...] = ()
    models: tuple[str, ...] = ()

    @classmethod
    def unscored(cls, reason: str, *, raw: str = "", critique: str = "", deliberation: str = "") -> Verdict:
        return cls(None, critique=critique, deliberation=deliberation, raw=raw, unscored_reason=reason)

    def with_usage(self, usage: Usage) -> Verdict:
        return replace(self, usage=usage)


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """How a domain writes its grading traces: the tag names and the range of a valid score."""

    critique_tag: str = "critique"
    deliberation_tag: str = "deliberation"
    score_tag: str = "score"
    score_min: float = 0.0
    score_max: float = 100.0

    @property
    def tags(self) -> tuple[str, str, str]:
        return (self.critique_tag, self.deliberation_tag, self.score_tag)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What a language model wrote. `finished` is False where it ran out of tokens.

    `usage` is such that the completions of a request add up to what the request cost; a server that counts them together has their output
    tokens spread evenly and the prompt put on the first. `model` is the id that a server resolved the model's name to ("" where there is none,
    as for a folder), and `stop` why the text ends: "end", "length", "refused", or the server's own word for anything else. `failure` says why
    there is no answer to this request, where there is none: it was declined, or the server would not take it. `logprobs` are the chosen tokens
    with their log-probabilities, where asked, and `tokens` the ids of what was written, where a model was told to keep them.
    """

    text: str
    finished: bool = True
    usage: Usage = Usage()
    model: str = ""
    stop: str = ""
    failure: str = ""
    logprobs: tuple[tuple[str, float], ...] | None = None
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a language model samples. Part of a result's provenance, so it is a value, not a setting.

    `max_tokens` includes what the model thinks before it answers. Where a model takes no temperature, 1 stands for how it samples anyway.
    """

    temperature: float = 1.0
    max_tokens: int = 1024
    n: int = 1
    logprobs: bool = False


class Judge(Protocol):
    """Who gives verdicts: a grader (prompts x model x n), or a program. Experts and proxies are judges."""

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        """One verdict per case, in order. The same cases and seed give the same verdicts where the model allows it.

        Raises `grading.errors.GraderError` when no verdict could be had for reasons outside the text.
        """
        ...
