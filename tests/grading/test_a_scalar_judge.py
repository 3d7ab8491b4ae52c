"""A scalar judge's score is the number at the end of the prompt, brought to the range of scores, whoever is in the batch."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grading.backends import load
from grading.errors import ConfigurationError
from grading.scalar import ScalarJudge, load_scalar
from grading.testing import JudgeConformance
from grading.types import Case

PROMPT = "Judge.\nTask: {INSTRUCTIONS}\nText:\n{CONTENT}"
CASES = [Case("Write.", "key " * n) for n in (1, 30, 4, 17, 2)]


@pytest.fixture(scope="session")
def scalar_model(tiny_model, tmp_path_factory) -> Path:
    """The tiny model with a head as a scalar job leaves one: it gives the first of the cases a half, and others what they have in common with it."""
    folder = tmp_path_factory.mktemp("scalar")
    loaded = load_scalar(str(tiny_model), untrained=True)
    state = last_state(loaded, CASES[0])
    loaded.model.score.weight.data[0] = state / (2 * state @ state)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def last_state(loaded, case: Case):
    """The final hidden state of the prompt's last token, by the model alone."""
    import torch

    turns = [{"role": "user", "content": PROMPT.replace("{INSTRUCTIONS}", case.instructions).replace("{CONTENT}", case.content)}]
    ids = loaded.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return loaded.model.model(input_ids=ids).last_hidden_state[0, -1]


def scores(folder: Path, cases: list[Case], **options) -> list[float | None]:
    judge = load({"backend": "grading.scalar.ScalarJudge", "options": {"prompt": PROMPT, "model": {"path": str(folder)}, **options}})
    return [verdict.score for verdict in asyncio.run(judge.grade(cases))]


@pytest.mark.training
class TestScalarJudge(JudgeConformance):
    independent = False  # up to rounding it is: see below

    @pytest.fixture
    def judge(self, scalar_model) -> ScalarJudge:
        return ScalarJudge(PROMPT, {"path": str(scalar_model)})


@pytest.mark.training
def test_the_score_is_the_head_on_the_last_hidden_state_within_the_range(scalar_model):
    loaded = load_scalar(str(scalar_model))
    values = [float(last_state(loaded, case) @ loaded.model.score.weight.detach()[0]) for case in CASES]
    assert min(values) > 0
    assert len(set(values)) == len(CASES)
    given = scores(scalar_model, CASES, format={"score_min": -10, "score_max": 10})
    assert given == pytest.approx([-10 + 20 * value for value in values], abs=1e-4)
    assert given[0] == pytest.approx(0, abs=1e-4)


@pytest.mark.training
@settings(max_examples=10)
@given(order=st.permutations(range(len(CASES))), size=st.integers(1, 5))
def test_a_score_does_not_depend_on_the_company(scalar_model, order, size):
    alone = [scores(scalar_model, [case])[0] for case in CASES]
    together = scores(scalar_model, [CASES[i] for i in order], model={"path": str(scalar_model), "batch_size": size})
    assert together == pytest.approx([alone[i] for i in order], abs=1e-3)


@pytest.mark.training
def test_what_lies_outside_the_range_is_clipped_and_there_are_no_words(scalar_model, tmp_path):
    import torch

    folder = shutil.copytree(scalar_model, tmp_path / "scaled")
    loaded = load_scalar(str(folder))
    loaded.model.score.weight.data *= 1e4
    loaded.model.save_pretrained(folder)
    assert set(scores(folder, CASES, format={"score_min": 2, "score_max": 7})) <= {2, 7}

    loaded.model.score.weight.data *= torch.nan
    loaded.model.save_pretrained(folder)
    judge = ScalarJudge(PROMPT, {"path": str(folder)})
    verdict = asyncio.run(judge.grade(CASES[:1]))[0]
    assert (verdict.score, verdict.unscored_reason) == (None, "the model's score is no number")
    assert (verdict.critique, verdict.deliberation, verdict.raw) == ("", "", "")
    assert verdict.usage.input_tokens > 10
    assert verdict.usage.output_tokens == 0


@pytest.mark.training
def test_a_text_too_long_for_the_model_takes_no_other_with_it(scalar_model):
    verdicts = asyncio.run(ScalarJudge(PROMPT, {"path": str(scalar_model)}).grade([CASES[0], Case("Write.", "x" * 600), CASES[2]]))
    assert verdicts[1].score is None
    assert "the model knows no more than 512" in verdicts[1].unscored_reason
    assert [verdicts[0].score, verdicts[2].score] == pytest.approx(scores(scalar_model, [CASES[0], CASES[2]]), abs=1e-3)


@pytest.mark.training
def test_a_model_that_names_no_padding_is_padded_all_the_same(scalar_model, tmp_path):
    folder = shutil.copytree(scalar_model, tmp_path / "unpadded")
    for name, key in (("config.json", "pad_token_id"), ("tokenizer_config.json", "pad_token")):
        data = json.loads((folder / name).read_text())
        del data[key]
        (folder / name).write_text(json.dumps(data))
    assert scores(folder, CASES) == pytest.approx(scores(scalar_model, CASES), abs=1e-3)


@pytest.mark.training
def test_a_model_that_writes_is_not_taken_for_one_that_scores(tiny_model):
    with pytest.raises(ConfigurationError, match=r"score\.weight is not there; a model with a scalar head is what a scalar job leaves"):
        scores(tiny_model, CASES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "Judge."}, "has no {CONTENT}"),
        ({"model": {"path": "/nowhere"}}, "no model in /nowhere"),
        ({"format": {"score_min": 5, "score_max": 5}}, "must be below its score_max"),
        ({"format": {"colour": "red"}}, "does not take these options.*colour"),
        ({"model": {"path": "/nowhere", "colour": "red"}}, "does not take these options.*colour"),
    ],
)
def test_options_that_will_not_do_are_named(tmp_path, options, message):
    (tmp_path / "config.json").touch()
    with pytest.raises(ConfigurationError, match=message):
        scores(tmp_path, CASES, **options)
