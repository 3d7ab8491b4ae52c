from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grading.errors import ConfigurationError
from grading.prompts import GradingPrompt, extract, fill
from grading.types import Case
from tests.grading.traces import FMT


def test_placeholders_inside_the_texts_stay_as_they_are():
    prompt = GradingPrompt("I: {INSTRUCTIONS} C: {CONTENT} again: {CONTENT}")
    case = Case("about {CONTENT}", "with {INSTRUCTIONS} and {CONTENT}")
    assert prompt.render(case, FMT) == "I: about {CONTENT} C: with {INSTRUCTIONS} and {CONTENT} again: with {INSTRUCTIONS} and {CONTENT}"


def test_other_braces_in_a_grading_prompt_mean_nothing():
    assert GradingPrompt('{"score": 1} {0} {content} {{CONTENT}} %s').render(Case("", "x"), FMT) == '{"score": 1} {0} {content} {x} %s'


def test_backslashes_in_a_text_mean_nothing():
    assert GradingPrompt("{CONTENT}").render(Case("", r"\1 \g<0> \n"), FMT) == r"\1 \g<0> \n"


def test_a_grading_prompt_without_the_text_to_judge_is_refused():
    with pytest.raises(ConfigurationError, match="CONTENT"):
        GradingPrompt("Grade this: {INSTRUCTIONS}")


@given(text=st.text())
def test_the_digest_is_the_sha256_of_the_text(text):
    prompt = GradingPrompt("{CONTENT}" + text)
    assert prompt.digest == hashlib.sha256(prompt.text.encode("utf-8", "surrogatepass")).hexdigest()


def test_a_generation_prompt_is_filled_from_its_variables():
    assert fill("A {OBJECT} and a {PLACE}, {OBJECT}.", {"OBJECT": "{PLACE}", "PLACE": "tower"}) == "A {PLACE} and a tower, {PLACE}."
    assert fill("{COUNT} of {x}, {topic} \\frac{a}{b}", {"COUNT": 3, "topic": "sea"}) == "3 of {x}, sea \\frac{a}{b}"


def test_a_missing_variable_is_named():
    with pytest.raises(ConfigurationError, match=r"needs PLACE, TIME; the variables given are OBJECT"):
        fill("A {OBJECT} in a {PLACE} at {TIME}", {"OBJECT": "key"})


@pytest.mark.parametrize(
    ("completion", "tag", "content"),
    [
        ("  all of it \n", "", "all of it"),
        ("Sure! <story> Once. </story> Bye.", "story", "Once."),
        ("<story>draft</story><Story>final</ story>", "story", "final"),
        ("<story>Once upon a", "story", "Once upon a"),  # cut off: what there is
        ("<story>Once</story> another <story>?", "story", "Once"),
        ("no tags at all", "story", ""),
        ("Once.</story>", "story", ""),
        ("<story></story>", "story", ""),
        ("<final text>x</final text>", "final text", "x"),
    ],
)
def test_the_text_to_judge_is_taken_out_of_its_tag(completion, tag, content):
    assert extract(completion, tag) == content
