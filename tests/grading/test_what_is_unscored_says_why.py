from __future__ import annotations

import pytest

from grading.parsing import parse_trace
from tests.grading.traces import FMT


@pytest.mark.parametrize(
    ("text", "finished", "reason"),
    [
        ("", True, "no score"),
        ("66", True, "no score"),
        ("<critique>good</critique><deliberation>66 of 100</deliberation>", True, "no score"),
        ("<critique>good</critique></score>66<score>", True, "score is not a number"),
        ("<critique>good</critique><score>high</score>", True, "score is not a number"),
        ("<critique>good</critique><score>high</score><score>101</score>", True, "score out of range"),  # the fault of the last
        ("<score>66</score>", True, "no critique"),
        ("<critique> \n</critique><score>66</score>", True, "no critique"),
        ("<critique>good<score>66</score>", True, "no critique"),  # never closed: the form is lost
        ("<critique>good</critique><score>6", False, "cut off before the score"),
        ("<critique>good", False, "cut off before the score"),
        ("<critique>good</critique><score>high</score> no,", False, "cut off before the score"),
        ("", False, "cut off before the score"),
    ],
)
def test_an_unscored_trace_has_a_reason_and_no_number(text, finished, reason):
    verdict = parse_trace(text, FMT, finished=finished)
    assert (verdict.score, verdict.unscored_reason, verdict.raw) == (None, reason, text)


def test_a_trace_that_was_cut_off_after_its_score_is_scored():
    assert parse_trace("<critique>good</critique><score>66</score> and another th", FMT, finished=False).score == 66


def test_the_words_are_kept_where_the_score_is_not():
    verdict = parse_trace("<critique>good</critique><deliberation>so</deliberation><score>no idea</score>", FMT)
    assert (verdict.critique, verdict.deliberation) == ("good", "so")
