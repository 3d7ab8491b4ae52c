"""Few-shot prompts: the expert's whole traces as examples, in the prompt or as earlier turns (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from grading.parsing import write_trace
from grading.prompts import GradingPrompt
from grading.realign.examples import Example, write_examples
from grading.types import TraceFormat

_BEFORE = "These texts have been judged before. Each stands with the trace that an expert wrote about it. Judge as the expert does.\n\n"
_AFTER = "\n\nSo far the examples. Here is what you are to judge.\n\n"


def in_prompt(grading_prompt: str, examples: Sequence[Example], fmt: TraceFormat) -> str:
    """`grading_prompt` after the examples. They come first, so that a server can keep what it has read of them for the next text."""
    shown = [replace(example, proxy=()) for example in examples]
    return f"{_BEFORE}{write_examples(shown, grading_prompt, fmt)}{_AFTER}{grading_prompt}"


def prefilled(grading_prompt: str, examples: Sequence[Example], fmt: TraceFormat) -> dict[str, Any]:
    """`grading_prompt` after turns in which it was asked about each example and answered by the expert's trace: {"text": ..., "turns": ...}."""
    prompt = GradingPrompt(grading_prompt)
    turns = [[prompt.render(example.case, fmt), write_trace(example.critique, example.deliberation, example.score, fmt)] for example in examples]
    return {"text": grading_prompt, "turns": turns}
