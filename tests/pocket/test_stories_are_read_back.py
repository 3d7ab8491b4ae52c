"""What the writer puts into a story, the reader finds there."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.pocket.language import ADJECTIVES, NAMES, OBJECTS, PLACES, STAGES, _skeleton, fill, prompts, read_story, templates, write_story

GOOD = (
    "At the tower, Ivy kept a key in a box. But the key slipped from her hand and was gone. Ivy searched the tower from end to end. "
    "There lay the key, safe beneath a leaf. To this day the key hangs above her door."
)


def test_a_story_without_faults_has_its_five_parts_in_order_and_one_kind_of_trouble():
    reading = read_story(GOOD)
    assert tuple(s.stage for s in reading.sentences) == STAGES
    assert {s.kind for s in reading.sentences[1:4]} == {"loss"}
    assert (reading.names, reading.objects, reading.places) == (("Ivy",), ("key",), ("tower",))
    assert reading.finished


def test_words_and_adjectives_are_counted():
    reading = read_story("Mia found an old red key near the misty tower.")
    assert reading.words == 10
    assert reading.adjectives == 3  # old, red, misty


@given(seed=st.integers(0, 2**32), quality=st.floats(0, 1))
def test_every_sentence_that_is_written_is_recognised(seed, quality):
    rng = random.Random(seed)
    task = rng.choice(prompts())
    story = write_story(rng, task.object, task.place, quality)
    reading = read_story(story)
    assert all(s.stage != "other" for s in reading.sentences)
    assert reading.finished
    assert not re.search(r" a [aeiou]", story)


@given(seed=st.integers(0, 2**32))
def test_the_same_seed_writes_the_same_story(seed):
    assert write_story(random.Random(seed), "key", "tower", 0.5) == write_story(random.Random(seed), "key", "tower", 0.5)


def test_no_two_templates_are_taken_for_each_other():
    texts = [t for t, _ in templates()]
    assert len({_skeleton(fill(t, "Tom", "key", "tower")) for t in texts}) == len(texts)


def test_no_template_holds_a_name_an_object_a_place_or_an_adjective_of_its_own():
    for template, _ in templates():
        reading = read_story(fill(template, "NAME", "OBJECT", "PLACE"))
        assert (reading.names, reading.objects, reading.places, reading.adjectives) == ((), (), (), 0), template


def test_the_word_lists_do_not_overlap():
    lists = [set(OBJECTS), set(PLACES), set(ADJECTIVES), {n.lower() for n in NAMES}]
    assert len(set().union(*lists)) == sum(map(len, lists))


@pytest.mark.parametrize("text", ["", " ", "...", "?!", "\n\n", "\ud800", "İ.", "key" * 10_000, ". . .", "'''."])
def test_odd_texts_are_read_without_complaint(text):
    read_story(text)


@given(st.text())
def test_any_text_is_read(text):
    reading = read_story(text)
    assert reading.words >= 0
    assert not (reading.finished and not reading.sentences)


def test_a_text_that_stops_in_mid_sentence_is_unfinished():
    assert not read_story(GOOD[:-1]).finished
    assert read_story(GOOD + '"').finished
