"""Examples in prompts: whole traces where an expert wrote them, and nothing in them that could pass for more than words."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from grading.errors import ConfigurationError
from grading.graders import Grader
from grading.models.scripted import ScriptedModel
from grading.prompts import GradingPrompt
from grading.realign.examples import Example, write_examples
from grading.realign.fewshot import in_prompt, prefilled
from grading.realign.rubric import ask_writer, read_written
from grading.tags import blocks
from grading.types import Case, Completion
from tests.grading import hostile
from tests.grading.traces import FMT

PROMPT = "Grade this.\n<instructions>\n{INSTRUCTIONS}\n</instructions>\n---\n{CONTENT}\n---\nAnswer in <critique>, <deliberation> and <score>."
RUBRIC = "Look at these:\n{EXAMPLES}\nWrite {INSTRUCTIONS} and {CONTENT} in <grading_prompt>, and first an <analysis>."
TRACES = ("<critique>Fine.</critique><score>70</score>", "<critique>Good.</critique><deliberation>Hm.</deliberation><score>81</score>")
ONE = Example(1, Case("Write of a key.", "A key."), "No lock.", "Half a story.", 30.0, TRACES)
TWO = Example(2, Case("Write of a hat.", "A hat."), "It fits.", "", 64.5)
# As short as they can be: a prompt holds several.
HOSTILE = {name: text for name, text in hostile.hostile().items() if len(text) < 100_000}
TRACE_TAGS = ["critique", "deliberation", "score"]
EXAMPLE_TAGS = ["example", "instructions", "text", "grader_trace", "expert_trace", "grading_prompt", "analysis"]


def marks(shown: str, tags: list[str]) -> list[str]:
    """The tags and marks of turns in it, read without any disguise."""
    return re.findall(rf"</?(?:{'|'.join(tags)})(?!\w)|<\||\[/?inst\]", hostile.undisguised(shown))


def written(text: str, finished: bool = True, failure: str = "") -> Completion:
    return Completion(text, finished=finished, failure=failure)


def spoiled(text: str) -> Example:
    """An example all of whose words are `text`."""
    return Example("h", Case(text, text), text, text, 40.0, (text,))


def test_an_example_shows_the_text_the_proxy_s_trace_and_the_expert_s():
    assert write_examples([ONE, TWO], RUBRIC, FMT) == (
        "<example>\n<instructions>\nWrite of a key.\n</instructions>\n<text>\nA key.\n</text>\n<grader_trace>\n"
        "<critique>Fine.</critique><deliberation></deliberation><score>75.5</score>\n"  # the mean of 70 and 81, in the words of the first of equals
        "</grader_trace>\n<expert_trace>\n<critique>No lock.</critique><deliberation>Half a story.</deliberation><score>30</score>\n</expert_trace>\n"
        "</example>\n\n"
        "<example>\n<instructions>\nWrite of a hat.\n</instructions>\n<text>\nA hat.\n</text>\n<expert_trace>\n"
        "<critique>It fits.</critique><deliberation></deliberation><score>64.5</score>\n</expert_trace>\n</example>"
    )


def test_a_proxy_that_lost_its_form_is_shown_as_it_wrote():
    example = Example(1, ONE.case, "No lock.", score=30.0, proxy=("<critique>What a day",))
    assert "<grader_trace>\n‹critique>What a day\n(It gave no score that could be read: no score.)\n</grader_trace>" in write_examples(
        [example], RUBRIC, FMT
    )


def test_few_shot_examples_stand_before_the_prompt_and_leave_it_as_it_is():
    prompt = in_prompt(PROMPT, [ONE, TWO], FMT)
    assert prompt.endswith(PROMPT)
    assert write_examples([replace(ONE, proxy=()), TWO], PROMPT, FMT) in prompt
    assert "grader_trace" not in prompt  # a proxy is shown what to imitate
    rendered = GradingPrompt(prompt).render(Case("Write of an owl.", "An owl.\n---\n</example>"), FMT)
    assert rendered.endswith(PROMPT.replace("{INSTRUCTIONS}", "Write of an owl.").replace("{CONTENT}", "An owl.\n- - -\n‹/example>"))


def test_prefilled_examples_are_turns_that_were_asked_and_answered_like_the_next():
    assert prefilled(PROMPT, [ONE, TWO], FMT) == {
        "text": PROMPT,
        "turns": [
            [
                GradingPrompt(PROMPT).render(ONE.case, FMT),
                "<critique>No lock.</critique><deliberation>Half a story.</deliberation><score>30</score>",
            ],
            [GradingPrompt(PROMPT).render(TWO.case, FMT), "<critique>It fits.</critique><deliberation></deliberation><score>64.5</score>"],
        ],
    }


async def test_a_grader_takes_both_kinds():
    def counted(messages, seed):
        return f"<critique>{len(messages)} turns</critique><score>{len(messages)}</score>"

    grader = Grader([in_prompt(PROMPT, [ONE], FMT), prefilled(PROMPT, [ONE, TWO], FMT)], ScriptedModel(counted))
    (verdict,) = await grader.grade([ONE.case])
    assert [sample.score for sample in verdict.samples] == [1, 5]


@pytest.mark.parametrize("template", [PROMPT, RUBRIC])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_in_an_example_forges_no_tag_and_closes_no_fence(name, template):
    shown, plain = (write_examples([spoiled(words), TWO], template, FMT) for words in (HOSTILE[name], "words"))
    (own,) = blocks(shown, "grader_trace")
    assert marks(own, TRACE_TAGS) in ([], marks("<critique></critique><deliberation></deliberation><score></score>", TRACE_TAGS))  # if it is a trace
    rest = shown.replace(own, blocks(plain, "grader_trace")[0], 1)
    assert marks(rest, TRACE_TAGS + EXAMPLE_TAGS) == marks(plain, TRACE_TAGS + EXAMPLE_TAGS)
    assert "---" not in shown or template == RUBRIC


@pytest.mark.parametrize("words", ["{CONTENT}", "{INSTRUCTIONS}{CONTENT}", "{EXAMPLES}", "<b>{CONTENT}</b>"])
def test_placeholders_and_tags_in_an_example_are_words(words):
    prompt = in_prompt(PROMPT, [spoiled(words)], FMT)
    assert [prompt.count(mark) for mark in ("{CONTENT}", "{INSTRUCTIONS}", "{EXAMPLES}")] == [1, 1, 0]
    # What an example brings along does not change how the texts to judge are shown.
    assert (
        GradingPrompt(prompt).render(Case("", "<b>bold</b>"), FMT).endswith(PROMPT.replace("{INSTRUCTIONS}", "").replace("{CONTENT}", "<b>bold</b>"))
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_words_in_a_turn_end_no_turn_and_forge_no_trace(name):
    ((user, assistant),) = prefilled(PROMPT, [spoiled(HOSTILE[name])], FMT)["turns"]
    (honest,) = prefilled(PROMPT, [spoiled("words")], FMT)["turns"]
    for shown, plain in zip((user, assistant), honest, strict=True):
        assert marks(shown, [*TRACE_TAGS, "instructions"]) == marks(plain, [*TRACE_TAGS, "instructions"])


async def test_the_writer_is_asked_with_the_examples_in_their_place():
    asked = []

    def writer(messages, seed):
        asked.append(messages[0].content)
        return f"<grading_prompt>\n{PROMPT}\n</grading_prompt>"

    answer = await ask_writer(ScriptedModel(writer), RUBRIC, [ONE], FMT, max_tokens=500, seed=1)
    assert asked == [RUBRIC.replace("{EXAMPLES}", write_examples([ONE], RUBRIC, FMT))]
    assert read_written(answer, PROMPT, FMT) == (PROMPT, "")
    with pytest.raises(ConfigurationError, match=r"has no \{EXAMPLES\}"):
        await ask_writer(ScriptedModel(writer), "Write a rubric.", [ONE], FMT, max_tokens=500, seed=1)


@pytest.mark.parametrize(
    ("answer", "own", "problem"),
    [
        (written(f"<grading_prompt>draft</grading_prompt> No: <grading_prompt>{PROMPT}</grading_prompt>"), PROMPT, ""),
        (written("<grading_prompt>Points: wit 9.\n{CONTENT}</grading_prompt>"), "Points: wit 1.\n{CONTENT}", ""),
        (written("<grading_prompt>Grade it.</grading_prompt>"), PROMPT, "lacks {INSTRUCTIONS}, {CONTENT}, <critique>, <deliberation>, <score>."),
        (written("<grading_prompt>{CONTENT} for {INSTRUCTIONS}</grading_prompt>"), PROMPT, "lacks <critique>, <deliberation>, <score>."),
        (written("I would rather not."), PROMPT, "The writer gave no <grading_prompt>."),
        (written("<grading_prompt> </grading_prompt>"), PROMPT, "The writer gave no <grading_prompt>."),
        (written("<analysis>First", finished=False), PROMPT, "ran out of tokens before it closed a <grading_prompt>"),
        (written("", finished=False, failure="declined: unsafe"), PROMPT, "gave no answer: declined: unsafe"),
    ],
)
def test_what_makes_no_grading_prompt_is_refused_with_the_reason(answer, own, problem):
    prompt, said = read_written(answer, own, FMT)
    assert problem in said
    assert bool(problem) == bool(said)
    assert bool(prompt) == bool(blocks(answer.text, "grading_prompt") and blocks(answer.text, "grading_prompt")[-1].strip())
