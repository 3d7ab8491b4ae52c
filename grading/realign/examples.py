"""Expert verdicts to learn from, and how they stand in a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grading.graders import mean_verdict
from grading.parsing import parse_trace, write_trace
from grading.prompts import fenced, inert
from grading.types import Case, TraceFormat

EXPERT = "expert_trace"
_FENCES = "<example> <instructions> <text> <grader_trace> <expert_trace>"


@dataclass(frozen=True, slots=True)
class Example:
    """An expert's verdict on a case; `score` is None where none was given. `proxy` are the traces that the proxy wrote about it, as they came."""

    id: int | str
    case: Case
    critique: str
    deliberation: str = ""
    score: float | None = None
    proxy: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether its trace is one that a grader may imitate: with a critique and a score."""
        return self.score is not None and bool(self.critique.strip())


def write_examples(examples: Sequence[Example], template: str, fmt: TraceFormat) -> str:
    """The examples as they may stand within `template`, each with its instructions, its text, the proxy's trace where there is one, and the expert's.

    All words in them are fenced: none can end its part, begin another, or hold a placeholder or a tag of the template's; the tags of `fmt`
    are there only where a trace has them. Of several proxy traces the one nearest to their mean score is shown, with that mean.
    """
    around = template + _FENCES

    def plain(text: str) -> str:
        return inert(fenced(text, around, fmt)).strip()

    return "\n\n".join(_example(example, fmt, plain) for example in examples)


def _example(example: Example, fmt: TraceFormat, plain: Callable[[str], str]) -> str:
    parts = {"instructions": plain(example.case.instructions), "text": plain(example.case.content)}
    if example.proxy:
        parts["grader_trace"] = _proxy_trace(example.proxy, fmt, plain)
    parts[EXPERT] = write_trace(plain(example.critique), plain(example.deliberation), example.score, fmt)
    return "\n".join(["<example>", *(f"<{tag}>\n{words}\n</{tag}>" for tag, words in parts.items()), "</example>"])


def _proxy_trace(traces: Sequence[str], fmt: TraceFormat, plain: Callable[[str], str]) -> str:
    found = mean_verdict([parse_trace(raw, fmt) for raw in traces])
    if found.score is None:
        return f"{plain(found.raw)}\n(It gave no score that could be read: {found.unscored_reason}.)"
    return write_trace(plain(found.critique), plain(found.deliberation), round(found.score, 1), fmt)
