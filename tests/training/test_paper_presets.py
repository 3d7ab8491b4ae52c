"""The paper's numbers, as they stand in the presets: each with the section that it comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.conftest import LESSONS, SMALL
from training import protocol
from training.models import Experiment
from training.paper import PAPER
from training.presets import PRESETS, Plan

QWEN = [name for name in PAPER if name.startswith("qwen3-8b-")]
TASKS = 500  # train prompts of creative writing (2.1)


def test_every_preset_is_a_plan_that_a_file_can_hold_and_no_name_is_taken_twice():
    assert {name: Plan.from_dict(plan.to_dict()) for name, plan in PAPER.items()} == PAPER
    assert not set(PAPER) & set(PRESETS)
    assert {plan.protocol for plan in PAPER.values()} == set(protocol.PROTOCOLS)


@pytest.mark.parametrize("name", QWEN)
def test_rl_is_that_of_appendix_a1(name):
    plan = PAPER[name]
    assert (plan.prompts_per_step, plan.group, plan.learning_rate, plan.policy_max_tokens, plan.proxy_n) == (8, 8, 7e-7, 5000, 6)


@pytest.mark.parametrize("name", ["qwen3-8b-heavy", "qwen3-8b-light", "qwen3-8b-context-full", "qwen3-8b-context-feedback", "qwen3-8b-scalar-head"])
def test_fine_tuning_is_that_of_appendix_a1(name):
    plan = PAPER[name]
    assert (plan.epochs, plan.update_epochs, plan.distil_learning_rate, plan.distil_batch, plan.lora) == (3, 3, 1e-5, 16, 0)


@pytest.mark.parametrize(
    ("name", "initial", "segment", "update", "epochs"),
    [
        ("qwen3-8b-heavy", 20_000, 800, 10_000, 3),  # 4.1
        ("qwen3-8b-light", 9_000, 500, 4_500, 3),
        ("qwen3-8b-ultra-light", 3_000, 500, 1_500, 9),
        ("qwen3-8b-context-full", 3_000, 500, 1_500, 3),  # 4.2
        ("qwen3-8b-context-feedback", 3_000, 500, 1_500, 3),
        ("qwen3-8b-scalar-head", 20_000, 800, 10_000, 3),  # 4.3
        ("research-heavy", 6_000, 250, 3_000, 3),  # 4.1
        ("research-light", 3_000, 250, 1_500, 3),
    ],
)
def test_the_table_of_fine_tuning(name, initial, segment, update, epochs):
    plan = PAPER[name]
    assert (plan.initial, plan.segment, plan.update, plan.epochs, plan.update_epochs) == (initial, segment, update, epochs, epochs)


@pytest.mark.parametrize(
    ("name", "validation", "search", "n", "shown"),
    [
        ("qwen3-8b-rubric", 50 * 16, 20, 6, 10),
        ("qwen3-8b-few-shot", 50 * 16, 20, 6, 5),
        ("qwen3-8b-few-shot-prefilled", 50 * 16, 20, 6, 5),
        ("research-rubric", 60 * 16, 10, 3, 10),
    ],
)
def test_the_table_of_in_context_learning(name, validation, search, n, shown):
    plan = PAPER[name]
    assert (plan.validation, plan.search, plan.keep, plan.segment, plan.proxy_n, plan.check, plan.shown) == (validation, search, 3, 50, n, 100, shown)
    assert (plan.fall, plan.fall_in, plan.after_fall, plan.pool) == (1.0, "scores", "roll-back", 100)


def test_research_plans_are_those_of_appendix_a2():
    for name in ("research-heavy", "research-light", "research-rubric"):
        plan = PAPER[name]
        assert (plan.prompts_per_step, plan.group, plan.policy_max_tokens, plan.proxy_max_tokens, plan.proxy_n) == (16, 8, 3000, 16_000, 3)


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("qwen3-8b-ceiling", 150_000),  # of the order of 1e5 (2.3)
        ("qwen3-8b-heavy", 50_000),  # 3 times fewer than the ceiling
        ("qwen3-8b-ultra-light", 7_500),  # 20 times fewer
        ("qwen3-8b-rubric", 3_200),  # around 3,000 and 50 times fewer (3.1); with checks, which depend on when expert reward falls
        ("qwen3-8b-per-prompt-few-shot-2", 4_000),  # around 5,000 (3.3)
        ("qwen3-8b-prompt-optimisation", 1_000),  # 1e2 to 1e3 (2.3)
    ],
)
def test_as_many_samples_are_used_as_the_paper_says(name, samples):
    used = sum(count for purpose, count in protocol.estimate(PAPER[name], TASKS).items() if purpose not in ("eval", "check"))
    assert used == pytest.approx(samples, rel=0.05)


def tiny(plan: Plan) -> Plan:
    """The same method with numbers of which a few seconds are enough: everything that is a size is small, and what is a choice stays."""
    small = SMALL | LESSONS | {"proxy_n": 2, "proxy_max_tokens": 96, "policy_max_tokens": 80, "pool": 0, "check": min(plan.check, 4)}
    small |= {"validation_prompts": min(plan.validation_prompts, 2), "validation_rollouts": 2, "search": min(plan.search, 3)}
    small |= {"keep": min(plan.keep, 2), "shown": min(plan.shown, 3), "calls": min(plan.calls, 12), "probes": 0, "prompts_per_step": 2, "group": 2}
    return replace(plan, **small)


# Of those that differ in sizes alone, one.
SMALLEST = {tiny(plan): name for name, plan in PAPER.items() if plan.protocol != "retrain"}  # which takes a proxy over: test_every_protocol_runs.py


@pytest.mark.parametrize("name", SMALLEST.values())
@pytest.mark.slow
def test_each_is_run_to_its_end_at_a_tiny_size(name, make_paper):
    experiment = make_paper(tiny(PAPER[name]))
    assert experiment.state == Experiment.State.DONE, experiment.note


@pytest.fixture
def make_paper(run):
    def make(plan: Plan) -> Experiment:
        changes = plan.to_dict()
        return run(changes.pop("protocol"), **changes)

    return make
