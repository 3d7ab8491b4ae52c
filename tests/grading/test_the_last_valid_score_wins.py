from __future__ import annotations

import pytest

from grading.parsing import parse_trace
from grading.types import TraceFormat
from tests.grading.traces import FMT

CRITIQUE = "<critique>good</critique>"


@pytest.mark.parametrize(
    ("tail", "score"),
    [
        ("<score>40</score><score>70</score>", 70),
        ("<score>40</score> and so on <score>150</score>", 40),
        ("<score>40</score><score>N</score>", 40),
        ("<deliberation>between <score>40</score> and <score>60</score></deliberation>", 60),
        ("<score>40<score>50</score>", 50),
        ("<score>40</score></score>", 40),
        ("<score>0</score>", 0),
        ("<score>100</score>", 100),
        ("<score>-0</score>", 0),
        ("<score>.5</score>", 0.5),
        ("<score>+66.</score>", 66),
        ("<SCORE>66</Score>", 66),
        ("< score >\n66\n< / score >", 66),
        ("<score>**66**</score>", 66),
        ("<score>66/100</score>", 66),
        ("<score>**66** / 100</score>", 66),
        ("<score>66 / 100.0</score>", 66),
        ("<score>66", 66),  # a finished trace that leaves out the closing tag
    ],
)
def test_of_the_scores_a_grader_writes_the_last_valid_one_counts(tail, score):
    verdict = parse_trace(CRITIQUE + tail, FMT)
    assert (verdict.score, verdict.unscored_reason) == (score, "")


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "good",
        "66%",
        "6/10",
        "66/",
        "/100",
        "66/100/100",
        "60-70",
        "66 or 70",
        "6 6",
        "66,5",
        "1e2",
        "NaN",
        "inf",
        "0x1f",
        "٦٦",
        "66 out of 100",
        "<b>66</b>",
        "**",
        "6" * 401,
    ],
)
def test_what_could_mean_two_things_is_not_a_score(written):
    verdict = parse_trace(f"{CRITIQUE}<score>{written}</score>", FMT)
    assert (verdict.score, verdict.unscored_reason) == (None, "score is not a number")


@pytest.mark.parametrize("written", ["-1", "100.01", "1000000", "-0.5", "101/100", "9" * 400])
def test_a_score_outside_the_range_is_not_one(written):
    verdict = parse_trace(f"{CRITIQUE}<score>{written}</score>", FMT)
    assert (verdict.score, verdict.unscored_reason) == (None, "score out of range")


def test_the_range_is_the_domain_s_own():
    fmt = TraceFormat(score_min=-3, score_max=3)
    assert parse_trace(f"{CRITIQUE}<score>-2</score>", fmt).score == -2
    assert parse_trace(f"{CRITIQUE}<score>2/3</score>", fmt).score == 2
    assert parse_trace(f"{CRITIQUE}<score>66</score>", fmt).score is None


def test_the_words_are_those_of_the_last_blocks_that_say_something():
    verdict = parse_trace(
        "<critique>draft</critique> hm. <critique> final\n</critique><deliberation>x</deliberation><critique></critique><score>5</score>", FMT
    )
    assert (verdict.critique, verdict.deliberation) == ("final", "x")
    assert verdict.raw.startswith("<critique>draft")
