"""The command that made the base runs, and what it leaves loads like any model."""

import json
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.pocket import pretrain
from training.pocket.evaluate import measure
from training.pocket.language import prompts
from training.pocket.tokenizer import make_tokenizer


def test_no_example_is_about_a_held_out_task():
    tokenizer = make_tokenizer()
    source = pretrain.examples(random.Random(0), tokenizer, pretrain.Recipe(steps=1))
    held_out = {p.instructions for p in prompts() if p.split == "eval"}
    for _ in range(300):
        text = tokenizer.decode(next(source).ids)
        assert not any(h in text for h in held_out)


def test_an_answer_is_learned_up_to_its_end_and_the_request_not_at_all():
    tokenizer = make_tokenizer()
    recipe = pretrain.Recipe(steps=1, story_share=1.0)
    example = next(pretrain.examples(random.Random(0), tokenizer, recipe))
    learned = tokenizer.decode([i for i, w in zip(example.ids, example.weights, strict=True) if w == 1.0])
    given = tokenizer.decode([i for i, w in zip(example.ids, example.weights, strict=True) if w == 0.0])
    assert learned.endswith(".<|im_end|>")
    assert given.startswith("<|im_start|>user\nWrite a short story about")
    assert given.endswith("<|im_start|>assistant\n")


def test_an_example_is_tokenised_as_the_whole_conversation_is():
    tokenizer = make_tokenizer()
    source = pretrain.examples(random.Random(1), tokenizer, pretrain.Recipe(steps=1))
    for _ in range(50):
        ids = next(source).ids
        assert tokenizer.encode(tokenizer.decode(ids), add_special_tokens=False) == ids


def test_random_rubrics_have_at_most_50_points():
    rng = random.Random(0)
    rubrics = [pretrain.random_rubric(rng, 0.15) for _ in range(300)]
    assert all(sum(r.weights.values()) <= 50 for r in rubrics)
    assert len({str(r) for r in rubrics}) > 200


def test_the_learning_rate_warms_up_holds_and_falls_to_nothing():
    recipe = pretrain.Recipe(steps=1000)
    assert pretrain.rate_at(0.0, 0, recipe) == pytest.approx(3e-3 / 60)
    assert pretrain.rate_at(0.5, 500, recipe) == 3e-3
    assert pretrain.rate_at(0.825, 825, recipe) == pytest.approx(1.5e-3)  # (1 - .825) / .35 = 1/2
    assert pretrain.rate_at(1.0, 1000, recipe) == 0.0


@pytest.mark.training
def test_the_command_makes_a_model_that_loads_and_writes(tmp_path):
    pretrain.main([str(tmp_path), "--steps", "3", "--seed", "7", "--eval-prompts", "0"])
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert model.dtype == torch.float32
    assert (tmp_path / "model.safetensors").stat().st_size <= 4_000_000
    assert json.loads((tmp_path / "recipe.json").read_text())["steps"] == 3
    assert len(tokenizer) == model.config.vocab_size
    measured = measure(tmp_path, prompts_each=1, per_prompt=2)
    assert measured["eval"]["finished"] == 0.0  # it has learned nothing yet


@pytest.mark.training
def test_two_seeds_make_two_models_and_one_seed_makes_one():
    tokenizer = make_tokenizer()
    weights = [pretrain.pretrain(pretrain.Recipe(steps=2, seed=s), tokenizer)[0].lm_head.weight for s in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
