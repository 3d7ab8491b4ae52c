from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grading.parsing import parse_trace
from grading.prompts import extract
from grading.tags import neutralise
from tests.grading.traces import FMT, any_text

MILLION = 1_000_000
HOSTILE = {
    "one letter": "x" * MILLION,
    "open brackets": "<" * MILLION,
    "spaces after a bracket": "<" + " " * MILLION,
    "spaces within a score": "<score>" + " " * MILLION + "</score>",
    "digits": "<score>" + "1" * MILLION + "</score>",
    "slashes in a score": "<score>" + "6 /" * (MILLION // 3) + "</score>",
    "opening tags": "<score>" * (MILLION // 7),
    "closing tags": "</score>" * (MILLION // 8),
    "pairs": "<score>1</score>" * (MILLION // 16),
    "wrong pairs": "<score>x</score>" * (MILLION // 16),
    "half tags": "< / " * (MILLION // 4),
    "critiques": "<critique></critique>" * (MILLION // 21),
}


@given(text=any_text, finished=st.booleans())
def test_every_text_gets_a_verdict_and_a_score_is_within_range(text, finished):
    verdict = parse_trace(text, FMT, finished=finished)
    assert verdict.raw == text
    if verdict.score is None:
        assert verdict.unscored_reason
    else:
        assert 0 <= verdict.score <= 100
        assert verdict.critique
        assert not verdict.unscored_reason


@given(text=any_text, tag=st.sampled_from(["", "story", "score", "a.b"]))
def test_something_is_extracted_from_any_text(text, tag):
    assert extract(text, tag) in text


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_million_characters_take_no_longer_than_reading_them(kind):
    text = HOSTILE[kind]
    began = time.process_time()
    parse_trace(text, FMT)
    neutralise(text, FMT.tags)
    extract(text, "score")
    assert time.process_time() - began < 2  # quadratic time would be minutes
