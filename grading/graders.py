"""A grader is one or more grading prompts times a language model times n samples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from statistics import fmean
from typing import Any, Self, TypeVar, overload

from grading.backends import load
from grading.errors import ConfigurationError, GraderError, StillRunning
from grading.models.base import BATCH, TEMPERATURE, BatchHandle, LanguageModel, derive_seed, require
from grading.parsing import parse_trace
from grading.prompts import GradingPrompt, task_digest
from grading.types import Case, Completion, Message, Sampling, TraceFormat, Usage, Verdict

Entry = str | Mapping[str, Any]  # a grading prompt as data: see `GradingPrompt.of`
T = TypeVar("T")
TURN_TOKENS = 200  # at most, that a server puts around a turn
_TASK = re.compile("[0-9a-f]{64}")


class Grader:
    """A judge that asks `model` (a language model, or its backend as JSON) `n` times with each of `prompts` about every case.

    A prompt is a text, or a text with earlier turns before it (`GradingPrompt.of`). `by_task` holds prompts that take the place of `prompts` for
    single tasks, by the SHA-256 of their instructions (`task_digest`). `sampling` may hold temperature (default 1) and max_tokens (default 1024);
    `format` the fields of `TraceFormat` that differ from its defaults. Raises `ConfigurationError` naming an option that will not do.
    """

    def __init__(
        self,
        prompts: Sequence[Entry],
        model: dict[str, Any] | LanguageModel,
        n: int = 1,
        sampling: Mapping[str, Any] | None = None,
        format: Mapping[str, Any] | None = None,
        by_task: Mapping[str, Sequence[Entry]] | None = None,
    ) -> None:
        if not isinstance(n, int) or n < 1:
            raise ConfigurationError(f"n, the samples for each prompt, must be 1 or more, not {n!r}")
        self._ask_with(prompts, by_task)
        self.format = _make(TraceFormat, "format", format)
        if "n" in (sampling or {}):
            raise ConfigurationError("n is an option of its own: take it out of sampling")
        self.sampling = replace(_make(Sampling, "sampling", sampling), n=n)
        _check(self.format, self.sampling)
        self.model: LanguageModel = load(model) if isinstance(model, dict) else model
        if sampling and "temperature" in sampling and TEMPERATURE not in self.model.capabilities:
            raise ConfigurationError(f"{type(self.model).__name__} takes no temperature: leave it out of sampling")

    def prompted(self, prompts: Sequence[Entry], by_task: Mapping[str, Sequence[Entry]] | None = None) -> Self:
        """A grader of the same model, samples and format with other prompts. Raises `ConfigurationError`."""
        other = copy(self)
        other._ask_with(prompts, by_task)
        return other

    def _ask_with(self, prompts: Sequence[Entry], by_task: Mapping[str, Sequence[Entry]] | None) -> None:
        self.prompts = _prompts(prompts, "prompts")
        self.by_task = {task: _prompts(own, f"by_task, {task}: prompts") for task, own in (by_task or {}).items()}
        if bad := next((task for task in self.by_task if not _TASK.fullmatch(task)), None):
            raise ConfigurationError(f"by_task goes by the SHA-256 of a task's instructions, 64 hexadecimal digits, not by {bad!r}")

    def prompts_for(self, case: Case) -> list[GradingPrompt]:
        """What the model is asked about this case."""
        return self.by_task.get(task_digest(case.instructions), self.prompts) if self.by_task else self.prompts

    @property
    def takes_batches(self) -> bool:
        """Whether `grade` is to be given a `BatchHandle`, and may raise `StillRunning`."""
        return BATCH in self.model.capabilities

    async def grade(self, cases: Sequence[Case], *, seed: int = 0, batches: BatchHandle | None = None) -> list[Verdict]:
        """One verdict per case, in order: the mean of its scored samples, of which there are up to n for each prompt.

        What was cut off, declined or not taken is unscored with its reason and takes no other sample or case with it. Where the model fails for
        other reasons, the `GraderError` has the verdicts that are complete in `partial`. How many requests are under way at a time is the model's
        affair. `batches` are for a model with BATCH; those of all prompts run at the same time.
        """
        if batches is not None:
            require(self.model, BATCH, "grade without a BatchHandle, or use a model that makes batches")
        asked = [self.prompts_for(case) for case in cases]
        rounds = max(map(len, asked), default=0)
        several = any(len(prompts) > 1 for prompts in (self.prompts, *self.by_task.values()))  # whichever cases there are: batches are kept by it
        answers: list[Sequence[Sequence[Completion] | None]] = []  # by prompt
        waiting: StillRunning | None = None
        for k in range(rounds):
            who = [i for i, prompts in enumerate(asked) if k < len(prompts)]
            requests = Requests([asked[i][k] for i in who], [cases[i] for i in who], self.format)
            own = batches.part(str(k)) if batches is not None and several else batches
            more: dict[str, Any] = {} if own is None else {"batches": own}
            try:
                found: Sequence[Sequence[Completion] | None] = await self.model.generate(requests, self.sampling, seed=derive_seed(seed, k), **more)
            except StillRunning as exc:
                waiting = exc
                found = exc.partial or [None] * len(who)
            except GraderError as exc:
                last = k == rounds - 1
                exc.partial = self._verdicts([*answers, _spread(exc.partial, who, len(cases))]) if last and exc.partial else []
                raise
            answers.append(_spread(found, who, len(cases)))
        verdicts = self._verdicts(answers)
        if waiting is not None:
            waiting.partial = verdicts
            raise waiting
        return [verdict for verdict in verdicts if verdict is not None]

    def most(self, case: Case) -> Usage:
        """No fewer tokens than a verdict on `case` takes: a token stands for a byte of the prompt or more, and a sample may use all it may write."""
        prompts = self.prompts_for(case)
        turns = [turn for prompt in prompts for turn in prompt.messages(case, self.format)]
        read = sum(len(turn.content.encode("utf-8", "replace")) + TURN_TOKENS for turn in turns)
        return Usage(input_tokens=read * self.sampling.n, output_tokens=len(prompts) * self.sampling.n * self.sampling.max_tokens)

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
    """What a model is asked about each case, by the prompt in the same place, written out whenever it is looked at: that takes microseconds, and
    held all at once these texts would take several times the memory of the cases.
    """

    def __init__(self, prompts: Sequence[GradingPrompt], cases: Sequence[Case], fmt: TraceFormat) -> None:
        self.prompts, self.cases, self.format = prompts, cases, fmt

    def __len__(self) -> int:
        return len(self.cases)

    @overload
    def __getitem__(self, place: int) -> list[Message]: ...
    @overload
    def __getitem__(self, place: slice) -> Requests: ...
    def __getitem__(self, place: int | slice) -> list[Message] | Requests:
        if isinstance(place, slice):
            return Requests(self.prompts[place], self.cases[place], self.format)
        return self.prompts[place].messages(self.cases[place], self.format)


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


def _prompts(entries: Sequence[Entry], name: str) -> list[GradingPrompt]:
    if isinstance(entries, str | Mapping) or not entries:
        raise ConfigurationError(f"{name} must be a list of one or more grading prompts")
    return [GradingPrompt.of(entry) for entry in entries]


def _spread(found: Sequence[Sequence[Completion] | None], who: Sequence[int], total: int) -> list[Sequence[Completion] | None]:
    """What was found for the cases numbered `who`, among all of them: those that were not asked about have no completions here."""
    row: list[Sequence[Completion] | None] = [()] * total
    for i, answer in zip(who, found, strict=True):
        row[i] = answer
    return row


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
