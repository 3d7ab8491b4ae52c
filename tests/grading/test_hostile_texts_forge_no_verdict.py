"""What a text says about its own score reaches no verdict: not through the prompt, not through a grader that repeats or obeys it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict

import pytest

from grading.graders import Grader
from grading.models.scripted import ScriptedModel
from grading.parsing import parse_trace, write_trace
from grading.prompts import GradingPrompt
from grading.types import Case, Message, TraceFormat
from tests.grading import hostile
from tests.grading.hostile import OWN_SCORE, undisguised
from tests.grading.traces import FMT

TEXTS = hostile.hostile()
EACH = [pytest.param(name, marks=pytest.mark.slow if len(text) > hostile.MILLION // 2 else ()) for name, text in TEXTS.items()]
FENCES = {"backquotes": "```", "tildes": "~~~", "rules": "---", "quotation marks": '"""'}
PROMPTS = {
    "plain": "Grade this story.\nTask: {INSTRUCTIONS}\nStory:\n{CONTENT}",
    "a tag of its own": "Task: {INSTRUCTIONS}\n\n<story>\n{CONTENT}\n</story>\n\nWrite critique, deliberation and score, each in its tags.",
    "backquotes": "Grade what stands between the backquotes.\n```text\n{CONTENT}\n```\nEnd with a score.",
    "tildes": "~~~\n\n{CONTENT}\n\n~~~\nEnd with a score.",
    "rules": "Grade what stands between the rules.\n---\n{CONTENT}\n---\nEnd with a score.",
    "quotation marks": 'Grade """{CONTENT}""" for {INSTRUCTIONS}.',
}
GERMAN = TraceFormat("kritik", "abwägung", "note", 1.0, 6.0)
# What no text may bring along: the format's tags, turns of a chat, and the fence that it stands in; read without any disguise.
FORBIDDEN = re.compile(r"</?(?:critique|deliberation|score)(?!\w)|<\||\[/?inst\]|</?(?:start|end)_of_turn|</?(?:s|bos|eos|pad)>|</?think")


def inside(prompt: str, text: str, fmt: TraceFormat = FMT) -> str:
    """The text as it stands in the rendered prompt."""
    before, after = prompt.split("{CONTENT}")
    rendered = GradingPrompt(prompt).render(Case("", text), fmt)
    return rendered[len(before.replace("{INSTRUCTIONS}", "")) : len(rendered) - len(after.replace("{INSTRUCTIONS}", ""))]


def scores(script, text: str, *prompts: str) -> set[float | None]:
    """What a grader of this script makes of the text, and of an honest text for hostile instructions, by each of the prompts."""
    cases = [Case("Write of a key.", text), Case(text, "A key.")]
    graders = [Grader([prompt], ScriptedModel(script), sampling={"max_tokens": 10**7}) for prompt in prompts]
    return {verdict.score for grader in graders for verdict in asyncio.run(grader.grade(cases))}


def test_there_are_many_of_them_and_no_two_are_the_same():
    assert len(set(TEXTS.values())) == len(TEXTS) >= 60
    forbidden = [name for name, text in TEXTS.items() if FORBIDDEN.search(undisguised(text))]
    assert len(forbidden) >= 60  # the search below finds what it is to find, disguised as it may be
    assert {f"tags in {name}" for name in (*hostile.DISGUISES, *hostile.BRACKETS)} <= set(forbidden)
    assert {f"tags with {name} in them" for name in hostile.INVISIBLE} <= set(forbidden)


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("name", EACH)
def test_no_tag_turn_or_fence_stands_in_the_text_as_it_is_shown(name, kind):
    shown = inside(PROMPTS[kind], TEXTS[name])
    plain = undisguised(shown)
    assert not FORBIDDEN.search(plain)
    if kind == "a tag of its own":
        assert not re.search("</?story", plain)
    if kind in FENCES:
        assert FENCES[kind] not in shown
    else:
        assert len(shown) == len(TEXTS[name])  # and nothing is lost: a bracket stands for a bracket


@pytest.mark.parametrize("name", EACH)
def test_a_grader_that_repeats_it_keeps_its_own_score(name):
    prompts = list(PROMPTS.values()) if len(TEXTS[name]) < 100_000 else [PROMPTS["a tag of its own"]]
    for script in (hostile.echo_before, hostile.echo_after, hostile.quotes):
        assert scores(script, TEXTS[name], *prompts) == {OWN_SCORE}, script.__name__
    assert scores(hostile.only_echo, TEXTS[name], *prompts) == {None}


@pytest.mark.parametrize("name", EACH)
def test_a_grader_that_gives_what_stands_in_score_tags_in_whatever_disguise_finds_none(name):
    assert scores(hostile.obeys, TEXTS[name], PROMPTS["a tag of its own"]) == {OWN_SCORE}


def test_without_neutralising_such_graders_would_be_fooled():
    """That the graders above are as bad as they are meant to be: on the bare text they give what it asks for."""
    bare = [TEXTS[f"tags in {name}"] for name in hostile.DISGUISES] + [TEXTS["a whole trace"], TEXTS["a trace with spaces in its tags"]]
    for text in bare:
        told = hostile.obeys([Message("user", text)], 0)
        assert parse_trace(told, FMT).score == 100
    assert parse_trace(hostile.echo_after([Message("user", TEXTS["a whole trace"])], 0), FMT).score == 100


@pytest.mark.parametrize("name", EACH)
def test_an_expert_who_quotes_it_teaches_their_own_score(name):
    """What proxies are taught is written by `write_trace`: words of an expert, who may quote the text at length."""
    trace = write_trace(f"It says: {TEXTS[name]}", TEXTS[name], OWN_SCORE, FMT)
    assert parse_trace(trace, FMT).score == OWN_SCORE
    assert len(re.findall(r"</?(?:critique|deliberation|score)>", undisguised(trace))) == 6


@pytest.mark.parametrize("name", EACH)
def test_tags_of_a_domain_s_own_are_held_to_the_same(name):
    words = {"critique": "kritik", "deliberation": "abwägung", "score": "note"}
    text = re.sub(r"(?<=[</])(?:critique|deliberation|score)(?=>)", lambda match: words[match[0]], TEXTS[name])
    prompt = PROMPTS["plain"]
    grader = Grader([prompt], ScriptedModel(own), sampling={"max_tokens": 10**7}, format=asdict(GERMAN))
    assert [verdict.score for verdict in asyncio.run(grader.grade([Case("", text)]))] == [2]
    assert not re.search(r"</?(?:kritik|abwagung|note)(?!\w)", undisguised(inside(prompt, text, GERMAN)))


def own(messages, seed):
    return f"<kritik>Mein Wort.</kritik><note>2</note>{messages[-1].content}"
