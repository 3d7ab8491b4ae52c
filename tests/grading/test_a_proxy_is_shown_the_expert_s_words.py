"""What the proxy is asked in context distillation, and which of its answers give away that it was shown something."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grading.errors import ConfigurationError
from grading.parsing import parse_trace
from grading.realign import context
from grading.types import Case, TraceFormat

FMT = TraceFormat()
TASK = "Write a story about two climbers."
STORY = (
    "The expert mountaineer gave her the notes. Based on the feedback above, Ida turned back. Experts were told to wait for the provided feedback."
)
CASE = Case(TASK, STORY)
PLAIN = Case(TASK, "They climbed until it was dark. Nobody spoke.")


def test_all_of_a_verdict_is_shown_as_a_trace_and_feedback_is_the_critique_alone():
    full = context.words("Flat.", "Half of it.", 40.0, FMT, context.FULL)
    assert full == "<critique>Flat.</critique><deliberation>Half of it.</deliberation><score>40</score>"
    assert context.words(" Flat. <score>9</score>", "Half of it.", 40.0, FMT, context.FEEDBACK) == "Flat. \u2039score>9\u2039/score>"
    with pytest.raises(ConfigurationError, match="show must be full or feedback, not 'all'"):
        context.words("Flat.", "", None, FMT, "all")


@given(st.text(), st.text(), st.text(st.characters(exclude_characters="{}")))
def test_both_are_filled_in_once_and_as_they_are(grading, expert, between):
    asked = context.request(f"a {{GRADING}} {between} {{x}} {{EXPERT}} b", grading, expert)
    assert asked == f"a {grading} {between} {{x}} {expert} b"


def test_an_empty_template_means_general_words_that_hold_both():
    asked = context.request(" \n", "Grade {EXPERT}.", "It is {GRADING}.")
    assert asked.count("Grade {EXPERT}.") == asked.count("It is {GRADING}.") == 1
    assert context.missing(context.CONTEXT_PROMPT) == []


@pytest.mark.parametrize(("template", "lost"), [("Look: {EXPERT}", "{GRADING}"), ("{GRADING}", "{EXPERT}"), ("x", "{GRADING} and no {EXPERT}")])
def test_a_template_without_a_placeholder_is_refused(template, lost):
    with pytest.raises(ConfigurationError, match=f"the context prompt has no {lost}"):
        context.request(template, "g", "e")


LEAKING = [
    ("As the expert says, the ending is flat.", "as the expert says"),
    ("the expert is right: Mia stays 4, 4.", "expert"),
    ("Experts would mark this down.", "experts"),
    ("The EXPERT\u2019s view is that it drags.", "expert"),
    ("In line with the\n  provided feedback, I take off 10.", "the provided feedback"),
    ("The given critique is fair.", "the given critique"),
    ("I agree with the previous assessment.", "the previous assessment"),
    ("The notes say that nobody speaks.", "the notes say"),
    ("The feedback highlights the pace.", "the feedback highlights"),
    ("The notes above are right.", "the notes above"),
    ("Based on the notes, 40.", "based on the notes"),
    ("According to the reviewer, it drags.", "according to the reviewer"),
    ("As noted in the feedback, it drags.", "as noted in the feedback"),
    ("My score is near the reference score.", "reference score"),
    ("I was given a critique that calls it flat.", "i was given a critique"),
    ("I am told that it is flat.", "i am told"),
    ("This matches the ground truth.", "ground truth"),
    ("The critique I was shown is harsh.", "critique i was shown"),
]


@pytest.mark.parametrize(("trace", "found"), LEAKING)
def test_words_that_give_the_source_away_are_found(trace, found):
    assert context.leak(f"<critique>{trace}</critique>", PLAIN) == found


HONEST = [
    "The pace drags in the middle, and the ending hints at more than it gives.",
    "The author notes every stone on the path; one wrong note spoils the last line.",
    "On a positive note, the dialogue provides tension. Points: 4 of 9.",
    "As noted above, the critique comes down on the side of restraint. Given the weaknesses, 40.",
    "The references to Homer are given no room, and the previous scene had more.",
    "Taking the above critique into account, the score is 55. This judgement is firm.",
    "It comments on grief without naming it. The reader is shown, not told, and is given time.",
    "The review of the literature is thin; the evaluation plan provided is sound. Feedback loops are not controlled for.",
    "I was given a story of 30 words. The previous analysis is missing, and the provided analysis plan has no human evaluation.",
    "An expertly built scene. The plan needs expertise that the team does not have.",
    "",
]


@pytest.mark.parametrize("trace", HONEST)
def test_what_any_critique_may_say_is_none(trace):
    assert context.leak(trace, PLAIN) == ""


@given(st.integers(0, 30), st.integers(0, 30), st.booleans())
def test_no_piece_of_the_graded_text_counts(start, length, loud):
    piece = " ".join(STORY.split()[start : start + length])
    assert context.leak(piece.upper() if loud else piece, CASE) == ""


def test_what_stands_in_the_graded_text_does_not_count_and_other_words_still_do():
    assert context.leak("The expert mountaineer is alive. Based on the feedback above, she turns back: well prepared.", CASE) == ""
    assert context.leak("The expert mountaineer is alive.", PLAIN) == "expert"
    assert context.leak("The expert mountaineer is alive. As the expert says, it drags.", CASE) == "as the expert says"


@given(st.text(), st.text(), st.sampled_from(LEAKING))
def test_they_are_found_wherever_they_stand(before, after, leaking):
    trace = f"<critique>{before} {leaking[0]} {after}</critique><deliberation></deliberation><score>40</score>"
    assert context.leak(parse_trace(trace, FMT).raw, PLAIN)
