"""Programs in the place of proxies and of writers of rubrics, for search jobs in tests."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from grading.errors import GraderError, Retry
from grading.models.scripted import ScriptedModel

RUBRIC = "<grading_prompt>Count the letter {}.\n{{INSTRUCTIONS}}\nText: {{CONTENT}}\nAnswer in <critique> and <score>.</grading_prompt>"


class Mortal(ScriptedModel):
    """At its call number `at` it kills its own process, once (`kill` names the file that says so), or asks the job to stop by the file `stop`."""

    def __init__(self, script: str, at: int = 0, kill: str = "", stop: str = "") -> None:
        super().__init__(script)
        self.at, self.kill, self.stop, self.calls = at, kill, stop, 0

    async def generate(self, requests, sampling, *, seed):
        self.calls += 1
        if self.calls == self.at:
            self._happen()
        return await super().generate(requests, sampling, seed=seed)

    def _happen(self) -> None:
        if self.stop:
            Path(self.stop).touch()
        if self.kill and not Path(self.kill).exists():
            Path(self.kill).touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Flaky(ScriptedModel):
    """A writer that does not answer its call number 2, once."""

    def __init__(self, failed: str) -> None:
        super().__init__("tests.engine.searching.write_rubric")
        self.failed, self.calls = Path(failed), 0

    async def generate(self, requests, sampling, *, seed):
        self.calls += 1
        if self.calls == 2 and not self.failed.exists():
            self.failed.touch()
            raise GraderError("overloaded", retry=Retry.after(1))
        return await super().generate(requests, sampling, seed=seed)


def count_letter(messages, seed):
    """A proxy that scores a text by how often it has the letter that the prompt names ("e" if none), with noise; the last text in it counts."""
    asked = messages[-1].content
    (letter,) = re.findall(r"Count the letter (\w)", asked)[-1:] or ["e"]
    text = asked.rpartition("Text: ")[2].partition("\n")[0]
    if "Only long texts." in asked and len(text) < 14:
        return "Too short."
    return f"<critique>It has {letter}.</critique><score>{min(99, 9 * text.count(letter) + seed % 4)}</score>"


def write_rubric(messages, seed):
    """A writer that names a letter by its mood; every fifth answer is no prompt."""
    mood = seed % 5
    return "I do not know." if mood == 4 else f"Let me see.{RUBRIC.format('aaeo'[mood])}"


def write_shy_rubric(messages, seed):
    """A writer whose prompts are right, and every other one takes long texts only."""
    return RUBRIC.format(f"a.{' Only long texts.' * (seed % 2)}")


def write_of_first(messages, seed):
    """A writer that names the first letter of the first text that it is shown."""
    (first,) = re.findall(r"<text>\n(\w)", messages[-1].content)[:1]
    return RUBRIC.format(first)


def refuse(messages, seed):
    return "I would rather not."
