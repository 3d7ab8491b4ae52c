"""What the protocols do next. No database: `next_stage` is given the outcomes so far."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import protocol
from training.presets import PRESETS, Plan
from training.protocol import Ask, Finish, Grade, Optimise, Realign, Rewrite, Sample, Search, Train

FULL = Plan("full-trace", steps=4, segment=2, initial=16, update=8, eval_prompts=3, eval_rollouts=2)
CEILING = Plan("ceiling", steps=4, segment=2, eval_prompts=3, eval_rollouts=2)
WEAK = Plan("weak-proxy", steps=4, segment=2, eval_prompts=3, eval_rollouts=2)
RUBRIC = Plan("rubric", 6, 2, initial=16, update=8, eval_prompts=3, eval_rollouts=2, validation_prompts=2, validation_rollouts=4, check=10, search=3)


def well(stage: protocol.Stage) -> dict[str, Any]:
    """The outcome where all goes as asked."""
    if isinstance(stage, Ask):
        return {"samples": stage.count or 24, "mean": 50.0 + stage.step, "error": 1.0, "deviation": 8.0}
    if isinstance(stage, Optimise):
        return {"prompt": "Please write.", "calls": stage.calls, "step": stage.step}
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


def test_context_distillation_has_the_proxy_write_its_own_traces_before_it_learns() -> None:
    plan = replace(FULL, protocol="context-feedback")
    keys, _ = run(plan)
    assert keys[2:6] == ["ask-initial-0", "rewrite-0", "realign-0", "grade-0"]
    rewrite = next(s for s in stages(plan) if isinstance(s, Rewrite))
    assert (rewrite.number, rewrite.count, rewrite.show) == (2, 16, "feedback")


def test_a_scalar_head_goes_the_way_of_full_trace_distillation() -> None:
    assert run(replace(FULL, protocol="scalar-head")) == run(FULL)


def test_prompts_are_searched_for_once_where_no_check_falls() -> None:
    keys, finish = run(RUBRIC)
    first = ["sample-0", "ask-eval-0", "fresh-0", "ask-initial-0", "ask-validation-0", "search-0", "grade-0"]
    looks = [[f"train-{step}", f"sample-{step + 2}", f"ask-eval-{step + 2}", f"ask-check-{step + 2}"] for step in (0, 2, 4)]
    assert keys == [*first, *(key for look in looks for key in look)]
    assert finish == Finish("all steps done", 6)


def falling(at: int, by: float) -> Any:
    """Outcomes in which checks fall by `by` from step `at` on."""
    return lambda s: well(s) | {"mean": 60.0 - by * (s.step >= at)} if isinstance(s, Ask) and s.purpose == "check" else well(s)


def test_a_fall_rolls_back_to_the_last_good_checkpoint_and_realigns_from_there() -> None:
    done: list[tuple[str, Any]] = []
    found = {}
    while not isinstance(stage := protocol.next_stage(RUBRIC, done), Finish):
        found[stage.key] = stage
        done.append((stage.key, falling(4, 8.0)(stage)))
    keys = list(found)
    after = keys[keys.index("ask-check-4") + 1 :]
    assert after == ["fresh-4", "ask-update-4", "ask-validation-4", "search-4", "train-4", "sample-6", "ask-eval-6", "ask-check-6"]
    fresh, train, search = found["fresh-4"], found["train-4"], found["search-4"]
    assert isinstance(fresh, Sample)
    assert isinstance(train, Train)
    assert isinstance(search, Search)
    assert (fresh.step, fresh.policy) == (4, 2)
    assert (train.start, train.origin, train.stop, train.number) == (4, 2, 6, 3)
    assert search.number == 3


def test_a_fall_may_also_be_lived_with() -> None:
    kept = replace(RUBRIC, after_fall="keep")
    found = [s for s in stages_of(kept, falling(4, 8.0)) if isinstance(s, Train)]
    assert [s.origin for s in found] == [0, 2, 4]


def stages_of(plan: Plan, outcome: Any) -> list[protocol.Stage]:
    done: list[tuple[str, Any]] = []
    found = []
    while not isinstance(stage := protocol.next_stage(plan, done), Finish):
        found.append(stage)
        done.append((stage.key, outcome(stage)))
    return found


@pytest.mark.parametrize(
    ("fall_in", "by", "fallen"),
    [("scores", 7.9, False), ("scores", 8.0, True), ("means", 1.4, False), ("means", 1.5, True)],  # deviation 8, and the root of 1 + 1
)
def test_a_fall_is_measured_in_deviations_of_scores_or_of_the_difference_of_means(fall_in: str, by: float, fallen: bool) -> None:
    before, now = ({"mean": 60.0 - lower, "error": 1.0, "deviation": 8.0} for lower in (0.0, by))
    assert protocol.has_fallen(replace(RUBRIC, fall_in=fall_in), before, now) is fallen


def test_nothing_has_fallen_where_nothing_is_known() -> None:
    nothing = {"mean": None, "error": None, "deviation": None}
    known = {"mean": 60.0, "error": None, "deviation": None}
    assert not any(protocol.has_fallen(RUBRIC, before, now) for before in (None, nothing, known) for now in (nothing, {"mean": 1.0, "error": None}))


def test_it_ends_at_a_fall_after_the_last_realignment_with_the_checkpoint_before_it() -> None:
    dropping = lambda s: well(s) | {"mean": 60.0 - 10 * s.step} if isinstance(s, Ask) and s.purpose == "check" else well(s)  # noqa: E731
    _, finish = run(replace(RUBRIC, steps=20, realignments=2), dropping)
    assert finish == Finish("expert reward fell after the last realignment", 0)


def test_where_reward_fell_is_told_from_the_outcomes_up_to_the_end() -> None:
    def falls(plan: Plan, outcome: Any) -> list[int]:
        return protocol.falls(plan, [(s.key, outcome(s)) for s in stages_of(plan, outcome)])

    lower = lambda s: {"samples": 6, "mean": 40.0 - s.step} if isinstance(s, Ask) else well(s)  # noqa: E731
    assert falls(RUBRIC, well) == []
    assert falls(RUBRIC, falling(4, 8.0)) == [4, 6]  # the second against the check at step 2, which was the last good one
    assert falls(replace(RUBRIC, after_fall="keep"), falling(4, 8.0)) == [4]
    assert falls(replace(WEAK, stop_after_falls=0), lower) == [2, 4]
    assert falls(FULL, well) == []
    with pytest.raises(ValueError, match="expected the outcome of sample-0, not of ask-eval-0"):
        protocol.falls(RUBRIC, [("ask-eval-0", {})])


def test_prompts_for_single_tasks_are_renewed_at_fixed_steps_without_a_check() -> None:
    keys, _ = run(Plan("per-prompt-few-shot", 4, 2, eval_prompts=3, eval_rollouts=2))
    first = ["sample-0", "ask-eval-0", "fresh-0", "ask-initial-0", "search-0", "grade-0", "train-0"]
    assert keys == [*first, "sample-2", "ask-eval-2", "fresh-2", "ask-update-2", "search-2", "grade-2", "train-2", "sample-4", "ask-eval-4"]


def test_the_ceiling_is_cut_off_where_the_policy_collapses() -> None:
    share = {0: 0.2, 2: 0.9, 4: 0.4}  # how it began does not matter
    collapsing = lambda s: {"unique": share[s.step]} if isinstance(s, Sample) else well(s)  # noqa: E731
    _, finish = run(replace(CEILING, steps=8, collapse=0.5), collapsing)
    assert finish == Finish("the policy collapsed: 40% of its texts differ", 2)


def test_retraining_asks_nobody_but_to_measure() -> None:
    keys, _ = run(Plan("retrain", 4, 2, eval_prompts=3, eval_rollouts=2))
    assert keys == ["sample-0", "ask-eval-0", "train-0", "sample-2", "ask-eval-2", "train-2", "sample-4", "ask-eval-4"]


def test_prompt_optimisation_looks_at_the_same_policy_under_another_prompt() -> None:
    plan = Plan("prompt-optimisation", 1, 1, calls=20, eval_prompts=3, eval_rollouts=2)
    *_, last, _ = stages(plan)
    assert isinstance(last, Sample)
    assert (last.policy, last.step, last.template) == (0, 1, "Please write.")
    assert protocol.estimate(plan) == {"eval": 12, "reward": 20}


def test_the_estimate_of_prompts_covers_a_fall_at_any_check() -> None:
    # 4 looks x 6; a realignment at 0 and after the checks at 2 and 4, each with 8 validation samples
    assert protocol.estimate(RUBRIC) == {"eval": 24, "initial": 16, "validation": 24, "check": 30, "update": 16}
    assert protocol.least(RUBRIC) == 2 * 6 + 16 + 8 + 10
    # One realignment more, wherever it comes: all looks and checks are there as well.
    assert protocol.estimate(replace(RUBRIC, realignments=2)) == {"eval": 24, "initial": 16, "validation": 16, "check": 30, "update": 8}
    for at in (2, 4):
        found = stages_of(replace(RUBRIC, realignments=2), falling(at, 8.0))
        assert sum(s.count for s in found if isinstance(s, Ask)) <= sum(protocol.estimate(replace(RUBRIC, realignments=2)).values())


def test_the_estimate_of_single_tasks_counts_every_train_prompt() -> None:
    plan = Plan("per-prompt-rubric", 4, 2, eval_prompts=3, eval_rollouts=2, per_task=2, realignments=1)
    assert protocol.estimate(plan, tasks=500) == {"eval": 18, "initial": 1000}
    assert protocol.least(plan, tasks=500) == 1012
