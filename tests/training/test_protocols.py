"""What the protocols do next. No database: `next_stage` is given the outcomes so far."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import protocol
from training.presets import PRESETS, Plan
from training.protocol import Ask, Finish, Grade, Realign, Sample, Train

FULL = Plan("full-trace", steps=4, segment=2, initial=16, update=8, eval_prompts=3, eval_rollouts=2)
CEILING = Plan("ceiling", steps=4, segment=2, eval_prompts=3, eval_rollouts=2)
WEAK = Plan("weak-proxy", steps=4, segment=2, eval_prompts=3, eval_rollouts=2)


def well(stage: protocol.Stage) -> dict[str, Any]:
    """The outcome where all goes as asked."""
    if isinstance(stage, Ask):
        return {"samples": stage.count, "mean": 50.0 + stage.step, "error": 1.0}
    return {"step": stage.stop} if isinstance(stage, Train) else {}


def run(plan: Plan, outcome: Any = well) -> tuple[list[str], Finish]:
    """The keys of all stages, and the end."""
    done: list[tuple[str, Any]] = []
    while not isinstance(stage := protocol.next_stage(plan, done), Finish):
        done.append((stage.key, outcome(stage)))
        assert len(done) < 1000
    return [key for key, _ in done], stage


def test_full_trace_asks_learns_grades_again_and_trains_then_ends_with_a_look() -> None:
    keys, finish = run(FULL)
    first = ["sample-0", "ask-eval-0", "ask-initial-0", "realign-0", "grade-0", "train-0"]
    second = ["sample-2", "ask-eval-2", "ask-update-2", "realign-2", "grade-2", "train-2"]
    assert keys == [*first, *second, "sample-4", "ask-eval-4"]
    assert finish == Finish("all steps done", 4)


def test_full_trace_without_eval_prompts_neither_looks_nor_grades_again() -> None:
    keys, _ = run(replace(FULL, eval_prompts=0))
    assert keys == ["sample-0", "ask-initial-0", "realign-0", "train-0", "sample-2", "ask-update-2", "realign-2", "train-2"]


def test_the_ceiling_is_rewarded_by_the_expert_and_needs_no_proxy() -> None:
    keys, finish = run(CEILING)
    assert keys == ["sample-0", "ask-eval-0", "train-0", "sample-2", "ask-eval-2", "train-2", "sample-4", "ask-eval-4"]
    assert finish.best_step == 4
    stage = protocol.next_stage(CEILING, [("sample-0", {}), ("ask-eval-0", {"samples": 6, "mean": 1.0})])
    assert isinstance(stage, Train)
    assert stage.reward == "expert"


def test_the_weak_proxy_stops_after_the_first_fall_and_stands_for_the_best_step() -> None:
    means = {0: 40.0, 2: 45.0, 4: 30.0}
    keys, finish = run(replace(WEAK, steps=6), lambda s: {"samples": 6, "mean": means[s.step]} if isinstance(s, Ask) else well(s))
    assert keys[-1] == "ask-check-4"
    assert finish == Finish("expert reward fell", 2)


def test_the_weak_proxy_goes_on_through_falls_when_told_so() -> None:
    falling = lambda s: {"samples": 6, "mean": 40.0 - s.step} if isinstance(s, Ask) else well(s)  # noqa: E731
    _, finish = run(replace(WEAK, stop_after_falls=0), falling)
    assert finish == Finish("all steps done", 0)


def test_a_check_without_a_single_score_is_no_better_than_what_was_before() -> None:
    blank = lambda s: {"samples": 6, "mean": None if s.step else 40.0} if isinstance(s, Ask) else well(s)  # noqa: E731
    assert run(WEAK, blank)[1] == Finish("expert reward fell", 0)


@pytest.mark.parametrize(("plan", "ends"), [(FULL, "ask-initial-0"), (WEAK, "ask-check-0")])
def test_a_used_up_budget_ends_it(plan: Plan, ends: str) -> None:
    keys, finish = run(plan, lambda s: {"samples": 0, "mean": None} if s.key == ends else well(s))
    assert keys[-1] == ends
    assert "budget is used up" in finish.reason


def test_the_ceiling_ends_where_the_budget_pays_for_no_further_step() -> None:
    keys, finish = run(CEILING, lambda s: {"step": min(s.stop, 3)} if isinstance(s, Train) else well(s))
    assert keys[-4:] == ["train-2", "sample-3", "ask-eval-3", "train-3"]
    assert finish == Finish("the expert budget is used up", 3)


def test_max_disagreement_asks_about_the_whole_pool_and_teaches_a_part_of_it() -> None:
    plan = replace(FULL, strategy="max-disagreement", pool=40)
    done = [("sample-0", {}), ("ask-eval-0", {"samples": 6})]
    asked = protocol.next_stage(plan, done)
    assert isinstance(asked, Ask)
    assert asked.count == 40
    realign = protocol.next_stage(plan, [*done, (asked.key, {"samples": 40})])
    assert isinstance(realign, Realign)
    assert realign.count == 16


def test_only_later_realignments_replay_what_was_learnt_before() -> None:
    first, later = (s for s in stages(FULL) if isinstance(s, Realign))
    assert (first.number, first.epochs, first.replay) == (2, FULL.epochs, 0)
    assert (later.number, later.epochs, later.replay) == (3, FULL.update_epochs, FULL.replay)


def stages(plan: Plan) -> list[protocol.Stage]:
    done: list[tuple[str, Any]] = []
    found = []
    while not isinstance(stage := protocol.next_stage(plan, done), Finish):
        found.append(stage)
        done.append((stage.key, well(stage)))
    return found


def test_max_variance_grades_the_pool_ten_times_and_random_not_at_all() -> None:
    def pool_grades(plan: Plan) -> int:
        sample = protocol.next_stage(plan, [])
        assert isinstance(sample, Sample)
        return next(r.grades for r in sample.requests if r.split == "train")

    assert pool_grades(FULL) == 0
    assert pool_grades(replace(FULL, strategy="max-variance")) == 10


def test_the_realigned_proxy_grades_the_evaluation_and_then_rewards() -> None:
    grade, train = (next(s for s in stages(FULL) if isinstance(s, kind)) for kind in (Grade, Train))
    assert (grade.number, train.number, train.reward) == (2, 2, "proxy")


def test_outcomes_of_another_protocol_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the outcome of sample-0, not of train-0"):
        protocol.next_stage(FULL, [("train-0", {"step": 2})])


@given(st.sampled_from(sorted(PRESETS)), st.data())
def test_replaying_any_part_of_the_outcomes_comes_to_the_same_stage(name: str, data: st.DataObject) -> None:
    plan = PRESETS[name]
    everything = stages(plan)
    at = data.draw(st.integers(0, len(everything) - 1))
    assert protocol.next_stage(plan, [(s.key, well(s)) for s in everything[:at]]) == everything[at]


def test_the_estimate_counts_every_verdict_by_purpose() -> None:
    # 3 looks x 6 rollouts; 16 at step 0 and 8 at step 2
    assert protocol.estimate(FULL) == {"eval": 18, "initial": 16, "update": 8}
    # 4 steps x 64 rollouts, 3 looks
    assert protocol.estimate(CEILING) == {"eval": 18, "reward": 256}
    assert protocol.estimate(WEAK) == {"check": 18}


def test_the_least_budget_reaches_the_look_after_the_first_segment() -> None:
    assert protocol.least(FULL) == 16 + 2 * 6
    assert protocol.least(CEILING) == 64 + 2 * 6
    assert protocol.least(WEAK) == 6
    assert protocol.least(replace(FULL, strategy="max-disagreement", pool=40)) == 40 + 2 * 6
