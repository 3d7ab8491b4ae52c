"""From a grading trace to a verdict and back.

A trace is what a grader writes: critique, deliberation and score, each in its tags. What cannot be trusted is unscored with a reason, never 0.
"""

from __future__ import annotations

import re
from decimal import Decimal

from grading.tags import blocks, neutralise, unclosed
from grading.types import TraceFormat, Verdict

NO_SCORE = "no score"
NOT_A_NUMBER = "score is not a number"
OUT_OF_RANGE = "score out of range"
NO_CRITIQUE = "no critique"
CUT_OFF = "cut off before the score"

_MARKUP = " \t\r\n*_`"
_NUMBER = r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
_SCORE = re.compile(rf"{_NUMBER}(?:[\s*_`]*/[\s*_`]*{_NUMBER})?")
_LONGEST_SCORE = 400  # characters: the longest number there is takes fewer, and an essay in score tags costs nothing


def parse_trace(text: str, fmt: TraceFormat, *, finished: bool = True) -> Verdict:
    """The verdict that `text` states; `finished` is False where its writer ran out of tokens. Raises for no text.

    The last score that is a number within the format's range wins: graders try scores out before they decide. Where none is, the last one's
    fault is the reason. A score whose tag is not closed counts only as the last words of a finished trace. Without a closed, non-empty critique
    the score is not trusted: a grader that has lost its form has lost its judgement too. Critique and deliberation are the last closed ones,
    without the white space around them; a missing deliberation is empty.
    """
    critique, deliberation = _last(text, fmt.critique_tag), _last(text, fmt.deliberation_tag)
    candidates = blocks(text, fmt.score_tag)
    if finished and (rest := unclosed(text, fmt.score_tag)) is not None:
        candidates.append(rest)
    score, reason = _last_valid(candidates, fmt)
    if score is None and not finished:
        reason = CUT_OFF
    elif score is not None and not critique:
        score, reason = None, NO_CRITIQUE
    return Verdict(score, critique=critique, deliberation=deliberation, raw=text, unscored_reason=reason)


def write_trace(critique: str, deliberation: str, score: float | None, fmt: TraceFormat) -> str:
    """The trace that states this verdict: what a proxy is taught to write. `parse_trace` reads it back.

    White space around the words is dropped. Tags of the format inside the words would end a part early or state a second score, so their "<"
    is written as "\u2039"; that is also how they are read back, still legible. A whole score is written without a decimal point; without
    a score there is no score tag.
    """
    parts = [(fmt.critique_tag, readable(critique, fmt)), (fmt.deliberation_tag, readable(deliberation, fmt))]
    if score is not None:
        parts.append((fmt.score_tag, write_score(score)))
    return "".join(f"<{tag}>{words}</{tag}>" for tag, words in parts)


def readable(words: str, fmt: TraceFormat) -> str:
    """`words` as they come back from a trace they were written into."""
    return neutralise(words.strip(), fmt.tags)


def write_score(score: float) -> str:
    """A finite score in plain decimal digits, as short as reads back the same."""
    return str(int(score)) if float(score).is_integer() else format(Decimal(repr(float(score))), "f")


def _last(text: str, tag: str) -> str:
    """The last block that says something, stripped; empty where there is none."""
    return next((words for block in reversed(blocks(text, tag)) if (words := block.strip())), "")


def _last_valid(candidates: list[str], fmt: TraceFormat) -> tuple[float | None, str]:
    first_reason = NO_SCORE
    for candidate in reversed(candidates):
        score, reason = _score(candidate, fmt)
        if score is not None:
            return score, ""
        if first_reason == NO_SCORE:
            first_reason = reason
    return None, first_reason


def _score(text: str, fmt: TraceFormat) -> tuple[float | None, str]:
    """A number, alone or as "66/100" with the format's own maximum; markdown emphasis around it is tolerated, words are not."""
    text = text.strip(_MARKUP)
    match = _SCORE.fullmatch(text) if len(text) <= _LONGEST_SCORE else None
    if match is None or (match[2] is not None and float(match[2]) != fmt.score_max):
        return None, NOT_A_NUMBER
    score = float(match[1])
    return (score, "") if fmt.score_min <= score <= fmt.score_max else (None, OUT_OF_RANGE)
