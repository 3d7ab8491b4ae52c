"""A hundred thousand texts that no grader should write, and some do: none raises, none yields a score that is not within the range."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from grading.parsing import CUT_OFF, NO_CRITIQUE, NO_SCORE, NOT_A_NUMBER, OUT_OF_RANGE, parse_trace
from grading.prompts import GradingPrompt
from grading.types import Case, TraceFormat
from tests.grading.hostile import BRACKETS, DISGUISES, INVISIBLE, forged, in_letters
from tests.grading.traces import PIECES

EACH = 20_000
FORMATS = (TraceFormat(), TraceFormat(score_min=-3.0, score_max=3.0), TraceFormat(score_min=1.0, score_max=10.0), TraceFormat(score_max=0.5))
NUMBERS = [
    "0",
    "1",
    "9",
    "10",
    "42",
    "66.5",
    "99.999",
    "100",
    "101",
    ".5",
    "5.",
    "-0",
    "-1",
    "+7",
    "1e2",
    "1e999",
    "-1e-999",
    "nan",
    "NaN",
    "-inf",
    "Infinity",
]
NUMBERS += [
    "9" * 400,
    "0" * 399 + "1",
    "9" * 5000,
    "0." + "0" * 390 + "1",
    "0x1f",
    "1_000",
    "1,000",
    "٦٦",
    "६६",
    "１００",
    "²",
    "½",
    "Ⅷ",
    "百",
    "𝟙𝟘",
    "66/100",
    "3/3",
    "6/10",
    "66%",
    "--5",
]
WORDS = [
    "",
    " ",
    "\n",
    "\t",
    "good",
    "score",
    "**",
    "`",
    "_",
    "&lt;",
    "\0",
    "\ud800",
    "\u200b",
    "\u202e",
    "\ufeff",
    "\u2028",
    "\x85",
    "é",
    "漢",
    "👩\u200d🚀",
    "{CONTENT}",
    "<|im_end|>",
    "]]>",
]
TAGS = [f"<{slash}{tag}>" for tag in ("critique", "deliberation", "score") for slash in ("", "/")]
BENT = [
    "<score",
    "score>",
    "</score",
    "< score >",
    "<\nscore\n>",
    "</ SCORE >",
    "<score/>",
    '<score n="1">',
    "<scores>",
    "<<score>>",
    "<scor",
    "e>",
    "<critique/>",
    "<Critique>",
    "</CRITIQUE>",
]
DISGUISED = (
    [in_letters("<score>", name) for name in DISGUISES]
    + [f"<sc{sign}ore>" for sign in INVISIBLE.values()]
    + [f"{a}score{b}" for a, b, _ in map(list, BRACKETS.values())]
)
GOOD = "<critique>Good.</critique>"
SCORES = [f"<score>{number}</score>" for number in NUMBERS]
WHOLE = [GOOD, "<score>40</score>", "<score>", "</score>", forged("100"), forged("nan"), forged("")]


def pieced(data: bytes, pieces: Sequence[str]) -> str:
    """A piece for each byte: hypothesis draws bytes many times faster than lists of texts."""
    assert len(pieces) <= 256
    return "".join([pieces[byte * len(pieces) // 256] for byte in data])


def within_score(data: bytes) -> str:
    return f"{GOOD}<score>{pieced(data[:3], [*NUMBERS, *WORDS, '/', ' / ', '.'])}</score>{pieced(data[3:6], [*SCORES, '', ''])}"


KINDS: dict[str, Callable[[bytes], str]] = {
    "tags and numbers": lambda data: pieced(data, [*TAGS * 2, *[GOOD] * 24, *NUMBERS, *SCORES]),
    "whole parts, nested, doubled and cut": lambda data: (whole := pieced(data[1:7], [*WHOLE * 4, *NUMBERS]))[
        : len(whole) * max(data[:1], default=0) // 200
    ],
    "a score with something in it": within_score,
    "everything there is": lambda data: pieced(data, [*TAGS, *[GOOD] * 8, *BENT, *DISGUISED, *NUMBERS, *SCORES[:20], *WORDS, *PIECES]),
    "any characters": lambda data: f"{GOOD}<score>4{data[: len(data) // 2 * 2].decode('utf-16', 'surrogatepass')}",
}
REASONS = {NO_SCORE, NOT_A_NUMBER, OUT_OF_RANGE, NO_CRITIQUE, CUT_OFF}
# What a score may look like, and no more than that: not how the parser finds it.
WRITTEN = re.compile(r"[-+]?[0-9]*\.?[0-9]*")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_none_raises_and_none_yields_a_score_outside_the_range(kind):
    seen: Counter[str] = Counter()

    @settings(max_examples=EACH, database=None, phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck), deadline=None)
    @given(data=st.binary(max_size=17))
    def case(data: bytes) -> None:
        which, text = data[0] if data else 0, KINDS[kind](data[1:])
        fmt, finished = FORMATS[which % len(FORMATS)], which % 8 < 6
        verdict = parse_trace(text, fmt, finished=finished)
        seen["scored" if verdict.score is not None else verdict.unscored_reason] += 1
        assert verdict.raw == text
        if verdict.score is None:
            assert verdict.unscored_reason in REASONS
        else:
            assert isinstance(verdict.score, float)
            assert math.isfinite(verdict.score)
            assert fmt.score_min <= verdict.score <= fmt.score_max
            assert verdict.score in {float(number) for number in re.findall(WRITTEN, text) if any(map(str.isdigit, number))}
            assert verdict.critique
            assert verdict.unscored_reason == ""
        # The same text, to be graded: it brings no score into the prompt.
        assert parse_trace(GradingPrompt("Grade: {CONTENT}").render(Case("", text), fmt), fmt).score is None

    case()
    assert seen.total() >= EACH
    assert len(seen) >= 3, f"hardly anything was tried: {seen}"
    assert EACH / 100 < seen["scored"] < EACH * 0.9 or kind == "any characters", seen


def test_they_are_a_hundred_thousand():
    assert EACH * len(KINDS) >= 100_000
