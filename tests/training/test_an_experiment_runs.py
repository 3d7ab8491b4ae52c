"""Whole experiments with the toy engine: real rows, real processes, a real program as the expert."""

from __future__ import annotations

import json

import pytest

from annotation.models import AuditEntry, Batch, Feedback, ProxyGrade, Rollout
from training import budget
from training.models import Checkpoint, Experiment, Job, ProxyVersion, Stage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
DONE = Experiment.State.DONE


def test_full_trace_distillation_leaves_every_verdict_version_and_checkpoint(run) -> None:
    experiment = run("full-trace")
    assert (experiment.state, experiment.note) == (DONE, "Done: all steps done. Its policy is that of step 4.")
    assert budget.spent(experiment) == {"eval": 18, "initial": 8, "update": 4}
    assert budget.left(experiment) == 0
    assert list(Checkpoint.objects.values_list("step", "parent__step")) == [(0, None), (2, 0), (4, 2)]
    assert list(ProxyVersion.objects.values_list("number", "method", "step", "parent__number")) == [
        (1, "baseline", 0, None),
        (2, "full-trace", 0, 1),
        (3, "full-trace", 2, 2),
    ]
    assert set(Job.objects.values_list("state", flat=True)) == {"done"}
    assert not Stage.objects.filter(ended=None).exists()
    # looks 3 x 6, pools of 8 and 4, RL 4 steps x 4
    assert Rollout.objects.count() == 18 + 12 + 16
    assert list(experiment.step_metrics.values_list("step", flat=True)) == [1, 2, 3, 4]
    assert list(AuditEntry.objects.filter(target="experiment:stories").values_list("verb", flat=True)) == ["finished", "started", "created"]


def test_the_later_version_learns_the_new_verdicts_and_replays_old_ones_and_never_an_evaluation(run) -> None:
    run("full-trace")
    first, second = ProxyVersion.objects.filter(number__gt=1)
    purposes = second.feedback.values_list("item__batch__purpose", flat=True)
    assert sorted(purposes) == ["initial"] * 4 + ["update"] * 4
    assert set(first.feedback.values_list("item__batch__purpose", flat=True)) == {"initial"}
    assert first.digest != second.digest


def test_the_proxy_is_taught_the_experts_own_words(run) -> None:
    experiment = run("full-trace", steps=2)
    rows = [json.loads(line) for line in (experiment.jobs.get(key="realign-0").path / "examples.jsonl").open()]
    told = Feedback.objects.filter(item__batch__purpose="initial").select_related("item__rollout")
    assert len(rows) == len(told) == 8
    for row in rows:
        said = [f for f in told if f.item.rollout.content in row["prompt"] and f"<critique>{f.critique}</critique>" in row["completion"]]
        assert said
        assert row["completion"].endswith(f"<score>{said[0].score:.0f}</score>")


def test_measurements_stand_at_every_look_and_after_every_realignment(run) -> None:
    experiment = run("full-trace")
    rows = experiment.measurements.values_list("name", "step", "when", "proxy__number")
    assert [r for r in rows if r[0] == "expert_reward"] == [("expert_reward", step, "", None) for step in (0, 2, 4)]
    looks = [("alignment", 0, "before", 1), ("alignment", 0, "after", 2), ("alignment", 2, "before", 2)]
    assert [r for r in rows if r[0] == "alignment"] == [*looks, ("alignment", 2, "after", 3), ("alignment", 4, "before", 3)]
    assert [r for r in rows if r[0] == "alignment_change"] == [("alignment_change", 0, "", 2), ("alignment_change", 2, "", 3)]
    assert all(
        m.value is not None for m in experiment.measurements.filter(name__in=["expert_reward", "proxy_reward", "unscored_rate", "unique_rate"])
    )


def test_the_ceiling_counts_every_rewarded_rollout_as_an_expert_sample(run) -> None:
    experiment = run("ceiling")
    assert experiment.state == DONE
    assert budget.spent(experiment) == {"eval": 18, "reward": 16}
    assert not Batch.objects.filter(closed=None).exists()
    assert not ProxyGrade.objects.exists()


def test_the_ceiling_trains_as_far_as_the_budget_goes_and_still_measures_where_it_came_to(run) -> None:
    experiment = run("ceiling", budget=6 + 3 * 4 + 6 + 3)  # a look, three steps of 4, a look; 3 are too few for a step
    # two steps in the first segment, with the look at step 2 (6) they leave 9: a look of 6 and no further step
    assert experiment.note == "Done: the expert budget is used up. Its policy is that of step 2."
    assert budget.spent(experiment) == {"eval": 12, "reward": 8}


def test_an_update_is_trimmed_to_what_leaves_a_look_after_it(run) -> None:
    experiment = run("full-trace", budget=6 + 8 + 6 + 2 + 6)
    assert budget.spent(experiment) == {"eval": 18, "initial": 8, "update": 2}
    assert experiment.state == DONE


def test_the_weak_proxy_is_checked_and_nothing_is_learnt(run) -> None:
    experiment = run("weak-proxy", stop_after_falls=0)
    assert budget.spent(experiment) == {"check": 18}
    assert experiment.proxies.count() == 1


@pytest.mark.parametrize(("strategy", "asked", "learnt"), [("random", 4, 4), ("max-variance", 4, 4), ("max-disagreement", 12, 4)])
def test_each_strategy_chooses_from_the_pool(run, strategy, asked, learnt) -> None:
    experiment = run("full-trace", steps=2, initial=4, pool=12, strategy=strategy)
    assert budget.spent(experiment)["initial"] == asked
    assert ProxyVersion.objects.get(number=2).feedback.count() == learnt


def test_max_variance_asks_about_the_rollouts_on_which_the_proxy_wavers_most(run) -> None:
    run("full-trace", steps=2, initial=4, pool=12, strategy="max-variance")
    from annotation.select import proxy_grades
    from annotation.selection import relative_spread

    pool = list(Rollout.objects.filter(run="stories/sample-0", prompt__split="train").values_list("pk", flat=True))
    spread = {pk: relative_spread(grades) for pk, grades in proxy_grades(pool, ProxyVersion.objects.get(number=1).digest).items()}
    assert all(len(g) == 10 for g in proxy_grades(pool, ProxyVersion.objects.get(number=1).digest).values())
    asked = set(Batch.objects.get(purpose="initial").items.values_list("rollout", flat=True))
    assert min(spread[pk] for pk in asked) >= max(spread[pk] for pk in set(pool) - asked)


def test_without_eval_prompts_it_learns_and_trains_all_the_same(run) -> None:
    experiment = run("full-trace", eval_prompts=0)
    assert experiment.state == DONE
    assert budget.spent(experiment) == {"initial": 8, "update": 4}
    assert set(experiment.measurements.values_list("name", flat=True)) == {"unique_rate"}


def test_experiments_of_a_domain_are_measured_on_the_same_prompts_and_a_seed_repeats_a_run(run) -> None:
    first, second, other = run(name="a"), run(name="b"), run(name="c", seed=2)
    assert first.config["eval_prompts"] == other.config["eval_prompts"]
    assert first.config["train_prompts"] != other.config["train_prompts"]

    def numbers(e: Experiment) -> list:
        return list(e.measurements.values_list("name", "step", "when", "value", "low", "high"))

    assert numbers(first) == numbers(second) != numbers(other)
