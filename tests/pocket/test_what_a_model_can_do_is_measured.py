"""The numbers that go into a base's recipe."""

import numpy as np
import pytest

from grading.models.transformers import TransformersModel
from grading.types import Case
from training.pocket import evaluate
from training.pocket.language import prompts
from training.pocket.pretrain import make_model
from training.pocket.tokenizer import make_tokenizer


def test_alignment_is_the_mean_of_the_correlations_within_prompts():
    expert = np.array([[0.0, 10.0, 20.0], [30.0, 40.0, 50.0]])
    proxy = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    assert evaluate.within_prompt_correlation(expert, proxy) == pytest.approx((1 - 1) / 2)


def test_prompts_without_variance_and_unscored_traces_are_left_out():
    expert = np.array([[0.0, 10.0, 20.0], [5.0, 5.0, 5.0]])
    proxy = np.array([[1.0, np.nan, 3.0], [3.0, 2.0, 1.0]])
    assert evaluate.within_prompt_correlation(expert, proxy) == pytest.approx(1.0)
    assert np.isnan(evaluate.within_prompt_correlation(expert[1:], proxy[1:]))


def test_the_expert_judges_a_row_for_each_prompt():
    good = "At the tower, Ivy kept a key in a box. But the key slipped from her hand and was gone. Ivy searched the tower from end to end. "
    good += "There lay the key, safe beneath a leaf. To this day the key hangs above her door."
    task = "Write a short story about a key and a tower."
    judged = evaluate.judge([Case(task, good), Case(task, ""), Case(task, ""), Case(task, good)], per_prompt=2)
    assert judged["hidden"].tolist() == [[100.0, 0.0], [0.0, 100.0]]


@pytest.mark.training
def test_a_model_that_has_learned_nothing_writes_stories_that_nobody_scores(tmp_path):
    tokenizer = make_tokenizer()
    make_model(tokenizer, seed=0).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = TransformersModel(tmp_path)
    cases = evaluate.write(model, prompts()[:2], 2, seed=0)
    assert [c.instructions for c in cases] == [p.instructions for p in prompts()[:2] for _ in range(2)]
    assert np.isnan(evaluate.scores(model, "Grade this: {CONTENT}", cases, temperature=1.0, n=2, seed=0)).all()
