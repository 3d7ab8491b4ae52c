"""The base that is shipped is the one that its recipe describes."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

import training.pocket
from training.pocket.pretrain import DATA_VERSION
from training.pocket.tokenizer import make_tokenizer

BASE = Path(training.pocket.__file__).parent / "base"
RECIPE = json.loads((BASE / "recipe.json").read_text())


def test_the_file_is_the_one_that_was_measured():
    assert sha256((BASE / "model.safetensors").read_bytes()).hexdigest() == RECIPE["sha256"]


def test_it_is_small():
    assert (BASE / "model.safetensors").stat().st_size <= 4_000_000


def test_it_was_trained_on_the_data_as_they_are_now():
    assert RECIPE["recipe"]["data_version"] == DATA_VERSION
    shipped = json.loads((BASE / "tokenizer.json").read_text())
    assert shipped["model"]["vocab"] == json.loads(make_tokenizer().backend_tokenizer.to_str())["model"]["vocab"]


def test_its_measurements_leave_room_to_learn():
    unseen, seen = RECIPE["measured"]["eval"], RECIPE["measured"]["train"]
    assert 35 <= unseen["reward"]["hidden"] <= 55
    assert unseen["finished"] >= 0.98
    assert abs(unseen["criteria"]["topic"] - seen["criteria"]["topic"]) <= 0.1


@pytest.mark.parametrize("show", ["full", "feedback"])
def test_it_follows_the_expert_s_words_where_it_is_shown_them_and_gives_some_away(show):
    measured = RECIPE["measured"]["context"][show]
    assert measured["with the words shown"] > 0.9
    assert measured["scored"] > 0.9
    assert 0.03 < measured["leaks"] < 0.2
