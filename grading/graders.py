"""A grader is one or more grading prompts times a language model times n samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, TypeVar, overload

from grading.backends import load
from grading.errors import ConfigurationError, GraderError, StillRunning
from grading.models.base import BATCH, TEMPERATURE, BatchHandle, LanguageModel, derive_seed, require
from grading.parsing import parse_trace
from grading.prompts import GradingPrompt
from grading.types import Case, Completion, Message, Sampling, TraceFormat, Usage, Verdict

T = TypeVar("T")
TURN_TOKENS = 200  # at most, that a server puts around a prompt


class Grader:
    """A judge that asks `model` (a language model, or its backend as JSON) `n` times with each of `prompts` about every case.

    `sampling` may hold temperature (default 1) and max_tokens (default 1024); `format` the fields of `TraceFormat` that differ from its
    defaults. Raises `ConfigurationError` naming an option that will not do.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        model: dict[str, Any] | LanguageModel,
        n: int = 1,
        sampling: Mapping[str, Any] | None = None,
        format: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(prompts, str) or not prompts:
            raise ConfigurationError("prompts must be a list of one or more grading prompts")
        if not isinstance(n, int) or n < 1:
            raise ConfigurationError(f"n, the samples for each prompt, must be 1 or more, not {n!r}")
        self.prompts = [GradingPrompt(text) for text in prompts]
        self.format = _make(TraceFormat, "format", format)
        if "n" in (sampling or {}):
            raise ConfigurationError("n is an option of its own: take it out of sampling")
        self.sampling = replace(_make(Sampling, "sampling", sampling), n=n)
        _check(self.format, self.sampling)
        self.model: LanguageModel = load(model) if isinstance(model, dict) else model
        if sampling and "temperature" in sampling and TEMPERATURE not in self.model.capabilities:
            raise ConfigurationError(f"{type(self.model).__name__} takes no temperature: leave it out of sampling")

    @property
    def takes_batches(self) -> bool:
        """Whether `grade` is to be given a `BatchHandle`, and may raise `StillRunning`."""
        return BATCH in self.model.capabilities

    async def grade(self, cases: Sequence[Case], *, seed: int = 0, batches: BatchHandle | None = None) -> list[Verdict]:
        """One verdict per case, in order: the mean of its scored samples, of which there are up to len(prompts) x n.

        What was cut off, declined or not taken is unscored with its reason and takes no other sample or case with it. Where the model fails for
        other reasons, the `GraderError` has the verdicts that are complete in `partial`. How many requests are under way at a time is the model's
        affair. `batches` are for a model with BATCH; those of all prompts run at the same time.
        """
        if batches is not None:
            require(self.model, BATCH, "grade without a BatchHandle, or use a model that makes batches")
        answers: list[Sequence[Sequence[Completion] | None]] = []  # by prompt
        waiting: StillRunning | None = None
        for k, prompt in enumerate(self.prompts):
            requests = Requests(prompt, cases, self.format)
            own = batches.part(str(k)) if batches is not None and len(self.prompts) > 1 else batches
            more: dict[str, Any] = {} if own is None else {"batches": own}
            try:
                answers.append(await self.model.generate(requests, self.sampling, seed=derive_seed(seed, k), **more))
            except StillRunning as exc:
                waiting = exc
                answers.append(exc.partial or [None] * len(cases))
            except GraderError as exc:
                last = k == len(self.prompts) - 1
                exc.partial = self._verdicts([*answers, exc.partial]) if last and exc.partial else []
                raise
        verdicts = self._verdicts(answers)
        if waiting is not None:
            waiting.partial = verdicts
            raise waiting
        return [verdict for verdict in verdicts if verdict is not None]

    def most(self, case: Case) -> Usage:
        """No fewer tokens than a verdict on `case` takes: a token stands for a byte of the prompt or more, and a sample may use all it may write."""
        read = sum(len(prompt.render(case, self.format).encode("utf-8", "replace")) + TURN_TOKENS for prompt in self.prompts)
        return Usage(input_tokens=read * self.sampling.n, output_tokens=len(self.prompts) * self.sampling.n * self.sampling.max_tokens)

    def _verdicts(self, answers: Sequence[Sequence[Sequence[Completion] | None]]) -> list[Verdict | None]:
        """The verdict on each case, given the answers to each prompt about it; None where one is missing."""
        return [
            None if any(part is None for part in parts) else mean_verdict([self.read(completion) for part in parts for completion in part or ()])
            for parts in zip(*answers, strict=True)
        ]

    def read(self, completion: Completion) -> Verdict:
        """The verdict that one completion of the model states."""
        if completion.failure:
            verdict = Verdict.unscored(completion.failure, raw=completion.text)
        else:
            verdict = parse_trace(completion.text, self.format, finished=completion.finished)
        return replace(verdict, usage=completion.usage, models=(completion.model,) if completion.model else ())


class Requests(Sequence[list[Message]]):
    """What a model is asked about each case, written out whenever it is looked at: that takes microseconds, and held all at once these texts would
    take several times the memory of the cases.
    """

    def __init__(self, prompt: GradingPrompt, cases: Sequence[Case], fmt: TraceFormat) -> None:
        self.prompt, self.cases, self.format = prompt, cases, fmt

    def __len__(self) -> int:
        return len(self.cases)

    @overload
    def __getitem__(self, place: int) -> list[Message]: ...
    @overload
    def __getitem__(self, place: slice) -> Requests: ...
    def __getitem__(self, place: int | slice) -> list[Message] | Requests:
        if isinstance(place, slice):
            return Requests(self.prompt, self.cases[place], self.format)
        return [Message("user", self.prompt.render(self.cases[place], self.format))]


def mean_verdict(samples: Sequence[Verdict]) -> Verdict:
    """The mean score of the scored `samples` (at least one sample), in the words of the one nearest to it; usage is summed over all.

    Where none is scored the verdict is unscored, with the commonest reason and the first sample that has it. `Verdict.samples` keeps all.
    """
    whole: dict[str, Any] = {
        "usage": sum((sample.usage for sample in samples), Usage()),
        "models": tuple(dict.fromkeys(model for sample in samples for model in sample.models)),
        "samples": tuple(samples),
    }
    scored = [(sample.score, sample) for sample in samples if sample.score is not None]
    if scored:
        mean = fmean(score for score, _ in scored)
        _, nearest = min(scored, key=lambda pair: abs(pair[0] - mean))
        return replace(nearest, score=mean, **whole)
    reason = Counter(sample.unscored_reason for sample in samples).most_common(1)[0][0]
    first = next(sample for sample in samples if sample.unscored_reason == reason)
    return replace(first, **whole)


def _make(kind: type[T], name: str, options: Mapping[str, Any] | None) -> T:
    try:
        return kind(**(options or {}))
    except TypeError as exc:
        raise ConfigurationError(f"{name} does not take these options: {exc}") from exc


def _check(fmt: TraceFormat, sampling: Sampling) -> None:
    names = [tag.strip().lower() for tag in fmt.tags]
    if len(set(names)) < len(names) or not all(names):
        raise ConfigurationError(f"the format needs three different tags, not {', '.join(map(repr, fmt.tags))}")
    if not fmt.score_min < fmt.score_max:
        raise ConfigurationError(f"the format's score_min {fmt.score_min} must be below its score_max {fmt.score_max}")
    if sampling.temperature < 0 or sampling.max_tokens < 1:
        raise ConfigurationError(f"sampling needs a temperature of 0 or more and at least 1 token, not {sampling}")
