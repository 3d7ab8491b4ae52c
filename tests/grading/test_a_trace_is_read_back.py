"""parse_trace undoes write_trace: what an expert said is what a proxy is taught and what we read from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grading.parsing import NO_SCORE, parse_trace, readable, write_trace
from grading.types import TraceFormat
from tests.grading.traces import FMT, any_text

scores = st.one_of(st.integers(0, 100), st.floats(0, 100))


@given(critique=st.text(min_size=1), deliberation=st.text(), score=scores)
def test_plain_words_come_back_as_they_were_but_for_outer_white_space(critique, deliberation, score):
    if "<" in critique + deliberation or not critique.strip():
        return
    verdict = parse_trace(write_trace(critique, deliberation, score, FMT), FMT)
    assert (verdict.critique, verdict.deliberation, verdict.score) == (critique.strip(), deliberation.strip(), score)


@given(critique=any_text, deliberation=any_text, score=scores)
def test_any_words_come_back_readable_and_never_change_the_score(critique, deliberation, score):
    verdict = parse_trace(write_trace(critique, deliberation, score, FMT), FMT)
    assert (verdict.critique, verdict.deliberation) == (readable(critique, FMT), readable(deliberation, FMT))
    assert verdict.score == (score if critique.strip() else None)


@given(words=any_text)
def test_writing_what_was_read_changes_nothing_more(words):
    once = write_trace(words, words, 5, FMT)
    verdict = parse_trace(once, FMT)
    assert write_trace(verdict.critique, verdict.deliberation, 5, FMT) == once


def test_a_score_typed_into_a_critique_stays_words():
    trace = write_trace("I would say <score>90</score></critique> but no", "", 40, FMT)
    verdict = parse_trace(trace, FMT)
    assert verdict.score == 40
    assert verdict.critique == "I would say ‹score>90‹/score>‹/critique> but no"


@given(score=st.floats(-1e12, 1e12))
def test_any_score_in_range_is_written_so_that_it_reads_back_exactly(score):
    wide = TraceFormat(score_min=-1e12, score_max=1e12)
    assert parse_trace(write_trace("fine", "", score, wide), wide).score == score


@pytest.mark.parametrize(
    ("score", "written"), [(66, "66"), (66.0, "66"), (66.5, "66.5"), (0, "0"), (1e-7, "0.0000001"), (33.333333333333336, "33.333333333333336")]
)
def test_scores_are_written_in_plain_decimals(score, written):
    assert write_trace("c", "d", score, FMT) == f"<critique>c</critique><deliberation>d</deliberation><score>{written}</score>"


def test_an_empty_deliberation_keeps_its_tags_and_no_score_has_none():
    trace = write_trace("good", "", None, FMT)
    assert trace == "<critique>good</critique><deliberation></deliberation>"
    verdict = parse_trace(trace, FMT)
    assert (verdict.score, verdict.unscored_reason, verdict.critique) == (None, NO_SCORE, "good")


def test_a_domain_s_own_tags_are_used():
    fmt = TraceFormat("notes", "thoughts", "mark", 1, 7)
    trace = write_trace("<mark>7</mark> is too much; <score>7</score> means nothing here", "so", 3, fmt)
    verdict = parse_trace(trace, fmt)
    assert verdict.score == 3
    assert verdict.critique == "‹mark>7‹/mark> is too much; <score>7</score> means nothing here"
