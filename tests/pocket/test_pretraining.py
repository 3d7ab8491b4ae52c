"""The command that made the base runs, and what it leaves loads like any model."""

import json
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

from grading.parsing import parse_trace
from grading.prompts import GradingPrompt
from grading.realign import context
from grading.types import Case, TraceFormat
from training.pocket import pretrain
from training.pocket.evaluate import measure
from training.pocket.expert import HIDDEN, WEAK
from training.pocket.language import prompts
from training.pocket.prompts import CONTEXT_PROMPT, GIVEAWAYS
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


def test_an_expert_s_words_are_answered_by_a_trace_that_agrees_with_them_and_asked_for_as_in_use():
    tokenizer, fmt = make_tokenizer(), TraceFormat()
    source = pretrain.examples(random.Random(2), tokenizer, pretrain.Recipe(steps=1, story_share=0.0, context_share=1.0))
    weak = leaks = full = 0
    for _ in range(200):
        asked, answer = tokenizer.decode(next(source).ids).split("<|im_end|>\n<|im_start|>assistant\n")
        asked, trace = asked.removeprefix("<|im_start|>user\n"), parse_trace(answer.removesuffix("<|im_end|>"), fmt)
        grading, words = asked.split("\nThe expert says:\n")
        case = Case(grading.split("\nTask: ")[1].split("\n")[0], grading.split("\nStory:\n")[1])
        prompt = GradingPrompt(grading.replace(case.instructions, "{INSTRUCTIONS}").replace(case.content, "{CONTENT}"))
        assert context.request(CONTEXT_PROMPT, prompt.render(case, fmt), words) == asked
        said, critique = parse_trace(words, fmt), trace.critique
        for giveaway in GIVEAWAYS:
            critique = critique.removeprefix(giveaway)
        assert critique == (said.critique or words)
        assert said.score in (None, trace.score)
        assert trace.score == 2 * int(critique.rstrip(".").split()[-1])  # the last running total
        assert bool(context.leak(trace.raw, case)) == (critique != trace.critique)
        assert str(HIDDEN) not in asked
        weak, leaks, full = weak + (str(WEAK) in asked), leaks + (critique != trace.critique), full + bool(said.critique)
    assert 100 < weak < 140  # 60%, 10% and half of 200
    assert 8 < leaks < 36
    assert 75 < full < 125


def test_whoever_makes_the_batches_they_are_the_same():
    pools = pretrain.Pools(make_tokenizer(), pretrain.Recipe(steps=1, batch=2, seed=5))
    made = DataLoader(pools, batch_size=None, sampler=[0, 1, 2], num_workers=2)
    for number, batches in enumerate(made):
        assert len(batches) == pretrain.POOL
        for one, other in zip(batches, pools[number], strict=True):
            for field in ("ids", "places", "weights"):
                assert np.array_equal(getattr(one, field), getattr(other, field))
    assert not np.array_equal(pools[0][0].ids, pools[1][0].ids)


def test_the_loss_is_the_weighted_mean_over_what_counts():
    tokenizer = make_tokenizer()
    model = pretrain.make_model(tokenizer, seed=0)
    group = [pretrain.Example([5, 6, 7, 8], [0.0, 0.2, 0.0, 1.0]), pretrain.Example([9, 10], [0.0, 1.0])]
    logs = [model(torch.tensor([e.ids])).logits[0].log_softmax(-1) for e in group]
    wanted = -(0.2 * logs[0][0, 6] + logs[0][2, 8] + logs[1][0, 10]) / 2.2
    assert pretrain.loss_of(model, pretrain.collate(group, tokenizer.pad_token_id)).item() == pytest.approx(wanted.item(), rel=1e-5)


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
    pretrain.main([str(tmp_path), "--steps", "3", "--seed", "7", "--device", "cpu", "--eval-prompts", "0"])
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert model.dtype == torch.float32
    assert (tmp_path / "model.safetensors").stat().st_size <= 4_000_000
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    assert (recipe["steps"], recipe["device"]) == (3, "cpu")
    assert len(tokenizer) == model.config.vocab_size
    measured = measure(tmp_path, prompts_each=1, per_prompt=2)
    assert measured["eval"]["finished"] == 0.0  # it has learned nothing yet
    assert measured["context"]["feedback"]["scored"] == 0.0


@pytest.mark.training
def test_two_seeds_make_two_models_and_one_seed_makes_one():
    tokenizer = make_tokenizer()
    weights = [pretrain.pretrain(pretrain.Recipe(steps=2, seed=s), tokenizer)[0].lm_head.weight for s in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
