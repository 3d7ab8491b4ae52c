"""Judges and scripted models that are real programs, for jobs in tests."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from grading.errors import GraderError, Retry
from grading.models.scripted import ScriptedModel
from grading.types import Case, Completion, Message, Sampling, Verdict


class LetterJudge:
    """Scores a text by its share of one letter, 0 to 100, with noise from the seed; the first `unscored` of 7 noise values give no score.

    Things happen at the call number `at`, once: `kill` and `stop` name files; the judge makes the file, and kills its own process with SIGKILL
    or has asked the job to stop with it. From call `speechless` on nothing is scored. `moody` judges never say the same twice.
    """

    def __init__(
        self, letter: str = "e", unscored: int = 0, at: int = 0, kill: str = "", stop: str = "", speechless: int = 0, moody: bool = False
    ) -> None:
        self.letter, self.unscored, self.at, self.kill, self.stop, self.speechless, self.moody = letter, unscored, at, kill, stop, speechless, moody
        self.calls = 0

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        self.calls += 1
        if self.calls == self.at:
            happen(self.kill, self.stop)
        return [self._verdict(case, (seed + i) % 7) for i, case in enumerate(cases)]

    def _verdict(self, case: Case, number: int) -> Verdict:
        if number < self.unscored or (self.speechless and self.calls >= self.speechless):
            return Verdict.unscored("no score", raw="I would rather not say.")
        share = case.content.count(self.letter) / max(1, len(case.content))
        noise = os.urandom(1)[0] / 100 if self.moody else 0
        return Verdict(round(min(100.0, 900 * share + number + noise), 3), critique=f"{share:.0%} {self.letter}", raw="a trace")


class Quoting(LetterJudge):
    """Its trace is the task that it was told."""

    def _verdict(self, case: Case, number: int) -> Verdict:
        return replace(super()._verdict(case, number), raw=case.instructions)


class Rewriter(ScriptedModel):
    """A proxy that repeats the expert's last word (after a "#" in its prompt), and now and then says so or loses its form.

    At the call number `at`, once, it makes the file `stop`, or makes the file `kill` and kills its own process. With `says` it says that instead,
    and keeps what it is asked in the file `heard`.
    """

    def __init__(self, at: int = 0, kill: str = "", stop: str = "", says: str = "", heard: str = "") -> None:
        super().__init__(partial(repeated, says, heard) if says else rewritten)
        self.at, self.kill, self.stop, self.calls = at, kill, stop, 0

    async def generate(self, requests: Sequence[Sequence[Message]], sampling: Sampling, *, seed: int) -> list[list[Completion]]:
        self.calls += 1
        if self.calls == self.at:
            happen(self.kill, self.stop)
        return await super().generate(requests, sampling, seed=seed)


def repeated(says: str, heard: str, messages: Sequence[Message], seed: int) -> str:
    if heard:
        with Path(heard).open("a") as file:
            file.write(json.dumps([message.content for message in messages]) + "\n")
    return says


def rewritten(messages: Sequence[Message], seed: int) -> str:
    said = messages[-1].content.rpartition("#")[2].split()[-1]
    opening = ("It is", "Truly it is", "The expert says it is", "")[seed % 4]
    return f"<critique>{opening and f'{opening} {said}'}</critique><deliberation></deliberation><score>{seed % 90}</score>"


def happen(kill: str, stop: str) -> None:
    if stop:
        Path(stop).touch()
    if kill and not Path(kill).exists():
        Path(kill).touch()
        os.kill(os.getpid(), signal.SIGKILL)


def babble(messages: Sequence[Message], seed: int) -> str:
    """A proxy that has lost its form."""
    return f"what a lovely day {seed % 10}"


def opinion(messages: Sequence[Message], seed: int) -> str:
    """A proxy that keeps its form."""
    return f"<critique>It has {messages[-1].content.count('e')} e.</critique><deliberation></deliberation><score>{seed % 90}</score>"


def obliging(messages: Sequence[Message], seed: int) -> str:
    """A policy: 40 letters, of which one more is an e for each please in its prompt, and its topic."""
    text = messages[-1].content
    return f"{'e' * text.count('please'):x<40} {text.partition('topic: ')[2]} {seed % 10}"


def polite(messages: Sequence[Message], seed: int) -> str:
    """A reflection model that says please once more; now and then it loses the topic over it."""
    prompt = messages[-1].content.split("```")[1].strip()
    return f"```\nplease {prompt.replace('{TOPIC}', 'love') if seed % 4 == 0 else prompt}\n```"


def forgetful(messages: Sequence[Message], seed: int) -> str:
    """A reflection model that always loses the topic."""
    return "```\nplease write\n```"


def away(messages: Sequence[Message], seed: int) -> str:
    """A reflection model that cannot be reached."""
    raise GraderError("it could not be reached", retry=Retry.after(10))


class LikelihoodJudge:
    """Scores a text by how likely each of its tokens is to the model in a folder, 0 to 100.

    `looks` names a file that grows by a byte at each call, by every judge that has it; when it is `kill` long, its process is killed.
    """

    def __init__(self, model: dict[str, str], looks: str = "", kill: int = 0) -> None:
        self.path, self.looks, self.kill = model["path"], looks, kill

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        from grading.models.decoding import log_probabilities
        from grading.models.transformers import TransformersModel

        if self.looks:
            self._look(Path(self.looks))
        loaded = TransformersModel(self.path).loaded
        read, written = (loaded.tokenizer(texts)["input_ids"] for texts in ([case.instructions for case in cases], [case.content for case in cases]))
        sums = log_probabilities(loaded.model, read, written)
        return [Verdict(100 * math.exp(total / len(tokens))) for total, tokens in zip(sums, written, strict=True)]

    def _look(self, looks: Path) -> None:
        with looks.open("ab") as file:
            file.write(b".")
        if looks.stat().st_size == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
