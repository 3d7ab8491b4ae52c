from __future__ import annotations

import random

import pytest

from grading.errors import ConfigurationError
from grading.models.scripted import ScriptedModel
from grading.testing import ModelConformance, ask
from grading.types import Sampling


def rambling(messages, seed):
    rng = random.Random(seed)
    return " ".join(rng.choice(("yes", "no", "well")) for _ in range(rng.randint(1, 10)))


class TestScriptedModel(ModelConformance):
    @pytest.fixture
    def model(self):
        return ScriptedModel(rambling)


async def test_a_script_may_be_named_by_its_dotted_path():
    named = ScriptedModel("tests.grading.test_scripted_model.rambling")
    assert await named.generate(ask("a"), Sampling(), seed=5) == await ScriptedModel(rambling).generate(ask("a"), Sampling(), seed=5)


async def test_what_is_cut_keeps_its_first_words():
    ((completion,),) = await ScriptedModel(lambda messages, seed: "one two  three four").generate(ask("a"), Sampling(max_tokens=2), seed=0)
    assert (completion.text, completion.finished) == ("one two  ", False)


@pytest.mark.parametrize("path", ["nowhere", "no.such.module", "random.no_such_function", "math.pi", ""])
def test_a_path_to_no_function_is_refused(path):
    with pytest.raises(ConfigurationError, match="dotted path of a function"):
        ScriptedModel(path)
