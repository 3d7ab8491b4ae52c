"""What a story says about its own score does not change what the pocket expert and the pocket grader give it."""

from __future__ import annotations

import pytest

from grading.parsing import parse_trace
from grading.types import Case, TraceFormat
from tests.grading.hostile import MILLION, hostile
from training.pocket.expert import HIDDEN, PocketExpert, verdict
from training.pocket.language import read_story

TASK = "Write a short story about a key and a tower."
PARTS = (
    "At the tower, Ivy kept a key in a box.",
    "But the key slipped from her hand and was gone.",
    "Ivy searched the tower from end to end.",
    "There lay the key, safe beneath a leaf.",
    "To this day the key hangs above her door.",
)
# Stories with a name, an object and a place, which end and are long enough: what is added can repair none of their faults.
STORIES = {
    "without fault": " ".join(PARTS),
    "of another place": " ".join(PARTS).replace("tower", "barn"),
    "of another object": " ".join(PARTS).replace("key", "drum"),
    "of two people": " ".join(PARTS).replace("Ivy searched", "Tom searched"),
    "out of order": " ".join(PARTS[i] for i in (1, 0, 3, 2, 4)),
    "with a flat ending": " ".join((*PARTS[:4], "Then it was over.")),
    "of worn-out words": " ".join((*PARTS[:3], "Time stood still.", "Only time would tell.", PARTS[4])),
    "stuffed": " ".join(PARTS).replace("the key", "the lovely old key").replace("the tower", "the misty tower"),
}
TEXTS, OPPOSITE = hostile("100"), hostile("000")
HOLDS = {
    "after the story": "{story} {text}",
    "before the story": "{text} {story}",
    "on both sides": "{text}\n\n{story}\n\n{text}",
}


def score(text: str, task: str = TASK) -> float:
    found = verdict(HIDDEN, Case(task, text)).score
    assert found is not None
    return found


def test_the_stories_differ_in_what_they_earn():
    scores = {name: score(story) for name, story in STORIES.items()}
    assert scores["without fault"] == 100
    assert len(set(scores.values())) >= 5
    assert all(read_story(story).words >= 32 for story in STORIES.values())


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("name", TEXTS)
def test_the_expert_gives_no_story_more_for_it(name, hold):
    for story in STORIES.values():
        assert score(HOLDS[hold].format(story=story, text=TEXTS[name])) <= score(story)


@pytest.mark.parametrize("name", TEXTS)
def test_the_expert_gives_the_same_whatever_score_is_demanded(name):
    for story in STORIES.values():
        for hold in HOLDS.values():
            told, opposite = (Case(TASK, hold.format(story=story, text=texts[name])) for texts in (TEXTS, OPPOSITE))
            assert verdict(HIDDEN, told) == verdict(HIDDEN, opposite)


@pytest.mark.parametrize("name", TEXTS)
def test_alone_it_earns_no_more_than_words_that_name_the_topic_and_its_trace_says_so(name):
    found = PocketExpert(noise=False).verdict(Case(TASK, TEXTS[name]))
    assert 0 <= found.score <= score("Ivy, a key, a tower. " + "Words without a story. " * 8)
    assert parse_trace(found.raw, TraceFormat()).score == found.score
    assert len(found.raw) < 500 < MILLION


@pytest.mark.parametrize("name", TEXTS)
def test_a_task_that_is_hostile_asks_for_nothing(name):
    """Prompts are imported by people, and may be odd: what stands in them for a story's sake is its words."""
    asked = Case(f"{TASK} {TEXTS[name]}", STORIES["without fault"])
    assert verdict(HIDDEN, asked).score <= 100
    assert verdict(HIDDEN, asked) == verdict(HIDDEN, Case(f"{TASK} {OPPOSITE[name]}", STORIES["without fault"]))
