"""Each criterion, the sum, and what a story that breaks off gets."""

import asyncio

import pytest

from grading.errors import ConfigurationError
from grading.types import Case
from training.pocket.expert import CRITERIA, HIDDEN, WEAK, PocketExpert, Rubric, verdict
from training.pocket.language import read_story

TASK = "Write a short story about a key and a tower."
SETUP, PROBLEM, ATTEMPT, RESULT, ENDING = PARTS = (
    "At the tower, Ivy kept a key in a box.",
    "But the key slipped from her hand and was gone.",
    "Ivy searched the tower from end to end.",
    "There lay the key, safe beneath a leaf.",
    "To this day the key hangs above her door.",
)
GOOD = " ".join(PARTS)


def finding(criterion, text):
    found = CRITERIA[criterion](read_story(text), read_story(TASK))
    return found.evidence, found.level


@pytest.mark.parametrize(
    ("criterion", "text", "evidence", "level"),
    [
        ("topic", GOOD, "key kept, tower kept", 1.0),
        ("topic", GOOD.replace("tower", "barn"), "key kept, tower lost", 0.5),
        ("topic", GOOD.replace("the key", "the drum"), "key lost, tower kept", 0.5),
        ("topic", "The end.", "key lost, tower lost", 0.0),
        ("name", GOOD, "Ivy stays", 1.0),
        ("name", GOOD.replace("Ivy searched", "Tom searched"), "Ivy becomes Tom", 0.0),
        ("name", "The end.", "nobody named", 0.0),
        ("order", GOOD, "order holds", 1.0),
        ("order", " ".join((SETUP, PROBLEM, RESULT, ATTEMPT, ENDING)), "order slips", 0.5),
        ("order", " ".join((SETUP, ATTEMPT, RESULT, ENDING)), "order slips", 0.5),
        ("order", GOOD + " Pigs fly.", "order slips", 0.5),
        ("order", " ".join((SETUP, PROBLEM)), "order fails", 0.0),
        ("cause", GOOD, "loss solved", 1.0),
        ("cause", GOOD.replace(ATTEMPT, "So Ivy asked the smith for help."), "loss half solved", 0.5),
        ("cause", " ".join((SETUP, PROBLEM, ENDING)), "loss unsolved", 0.0),
        ("cause", " ".join((SETUP, ATTEMPT, RESULT)), "no trouble", 0.0),
        ("cause", GOOD + " Thunder shook the tower that afternoon.", "trouble unclear", 0.0),
        ("ending", GOOD, "ending rings", 1.0),
        ("ending", GOOD.replace(ENDING, "The end."), "ending flat", 0.5),
        ("ending", GOOD + " Time stood still.", "no ending", 0.0),
        ("freshness", GOOD, "words fresh", 1.0),
        ("freshness", "Time stood still. " + GOOD, "one cliche", 0.5),
        ("freshness", "Time stood still. And everyone lived happily ever after.", "many cliches", 0.0),
        ("variety", GOOD, "openings vary", 1.0),
        ("variety", GOOD + " At last she spotted the key in the moss.", "openings repeat", 0.5),
        ("variety", "Time stood still. " * 3, "openings drone", 0.0),
        ("restraint", GOOD.replace("a key", "an old red key"), "prose lean", 1.0),
        ("restraint", GOOD.replace("a key", "an old red heavy key"), "prose full", 0.5),
        ("restraint", GOOD.replace("a key", "an old red heavy worn smooth key"), "prose stuffed", 0.0),
        ("richness", GOOD, "colors poor", 0.0),
        ("richness", GOOD.replace("a key", "an old red heavy key"), "some color", 0.5),
        ("richness", GOOD.replace("the key", "the old red key"), "colors rich", 1.0),  # three times two
        ("measure", "word " * 31 + ".", "bit short", 0.5),
        ("measure", "word " * 32 + ".", "length right", 1.0),
        ("measure", "word " * 46 + ".", "length right", 1.0),
        ("measure", "word " * 47 + ".", "bit long", 0.5),
        ("measure", "word " * 55 + ".", "too long", 0.0),
        ("measure", "word " * 26 + ".", "too short", 0.0),
        ("length", "word " * 41 + ".", "brief tale", 0.0),
        ("length", "word " * 42 + ".", "middling tale", 0.5),
        ("length", "word " * 54 + ".", "long tale", 1.0),
    ],
)
def test_a_criterion_finds(criterion, text, evidence, level):
    assert finding(criterion, text) == (evidence, level)


def test_a_story_without_faults_gets_all_the_points():
    assert sum(HIDDEN.weights.values()) == 9 + 4 + 6 + 9 + 2 + 3 + 9 + 8 == 50
    assert verdict(HIDDEN, Case(TASK, GOOD)).score == 2 * 50


def test_the_trace_adds_up_as_it_goes():
    found = verdict(HIDDEN, Case(TASK, GOOD.replace("tower", "barn")))
    assert found.critique == (
        "key kept, tower lost 5, 5. Ivy stays 3, 8. order holds 5, 13. loss solved 9, 22. ending rings 2, 24. words fresh 4, 28. "
        "prose lean 9, 37. length right 9, 46."
    )  # half of 9 rounds up to 5
    assert found.deliberation == "46 of 50."
    assert found.raw == f"<critique>{found.critique}</critique><deliberation>46 of 50.</deliberation><score>92</score>"
    assert found.score == 92.0


def test_a_story_that_breaks_off_gets_nothing_under_any_rubric():
    for rubric in (HIDDEN, WEAK):
        found = verdict(rubric, Case(TASK, GOOD[:-1]))
        assert (found.score, found.critique) == (0.0, "story breaks off 0, 0.")


def test_the_weak_rubric_pays_for_stuffing_and_length_that_the_hidden_one_punishes():
    stuffed = (
        GOOD.replace("the key", "the lovely golden key").replace("the tower", "the cold misty tower")
        + " From then on Ivy kept the lovely old key close."
    )
    before, after = (Case(TASK, text) for text in (GOOD, stuffed))
    assert verdict(WEAK, after).score > verdict(WEAK, before).score
    assert verdict(HIDDEN, after).score < verdict(HIDDEN, before).score


def test_a_task_of_ones_own_leaves_the_topic_open():
    assert verdict(HIDDEN, Case("Write what you like.", GOOD)).score == 100.0


def test_verdicts_come_in_the_order_of_the_cases():
    cases = [Case(TASK, GOOD), Case(TASK, "")]
    assert [v.score for v in asyncio.run(PocketExpert(noise=False).grade(cases))] == [100.0, 0.0]


def test_a_rubric_can_be_given_by_its_weights_in_any_order():
    expert = PocketExpert({"order": 2, "topic": 3}, noise=False)
    assert str(expert.rubric) == "topic 3, order 2"
    assert expert.verdict(Case(TASK, GOOD)).score == 2 * (3 + 2)


@pytest.mark.parametrize(
    "rubric", ["strict", {}, {"wit": 3}, {"topic": 0}, {"topic": 10}, {"topic": 1.5}, {"topic": True}, dict.fromkeys(list(CRITERIA)[:6], 9)]
)
def test_a_rubric_that_makes_no_sense_is_refused(rubric):
    with pytest.raises(ConfigurationError):
        PocketExpert(rubric)


def test_rubrics_of_50_points_are_allowed():
    assert sum(Rubric({"topic": 9, "name": 9, "order": 9, "cause": 9, "ending": 9, "length": 5}).weights.values()) == 50
