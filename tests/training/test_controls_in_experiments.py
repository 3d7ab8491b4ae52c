"""Hidden repeats and gold items in experiments: on top of what is asked, within the budget, and never learnt from."""

from __future__ import annotations

import math

import pytest

from annotation import actions as queue
from annotation.models import Batch, Feedback, Item, Rollout
from training import actions, budget, dispatch, follow, protocol, runner
from training.errors import InvalidExperiment
from training.models import Job
from training.presets import Plan

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

SHARES = {"repeat_share": 0.25, "gold_share": 0.5}


def controls(experiment) -> dict[str, tuple[int, int]]:
    """How many repeats and gold items each batch has."""
    found = {}
    for batch in Batch.objects.filter(experiment=experiment.name).order_by("pk"):
        kinds = list(batch.items.exclude(control="").values_list("control", flat=True))
        found[batch.key.removeprefix(f"{experiment.name}/")] = (kinds.count("repeat"), kinds.count("gold"))
    return found


def make_gold(domain, count: int) -> None:
    rows = [{"prompt": domain.prompts.first().pk, "step": 0, "index": i, "completion": f"Gold {i}.", "content": f"Gold {i}."} for i in range(count)]
    queue.record_rollouts(domain, "gold", rows)
    for rollout in Rollout.objects.filter(run="gold"):
        queue.set_gold(rollout, 50, actor=None)


def test_every_batch_gets_its_shares_and_nothing_is_learnt_from_them(run, domain) -> None:
    make_gold(domain, 5)
    experiment = run(**SHARES)
    # looks of 6: round(1.5) = 2 repeats and 3 gold; 8 to teach first: 2 and 4; 4 to teach again: 1 and 2
    assert controls(experiment) == {"ask-eval-0": (2, 3), "ask-initial-0": (2, 4), "ask-eval-2": (2, 3), "ask-update-2": (1, 2), "ask-eval-4": (2, 3)}
    learnt = Feedback.objects.filter(proxies__experiment=experiment).distinct()
    assert learnt.count() == 8 + 4
    assert not learnt.exclude(item__control="").exists()
    assert sum(budget.spent(experiment).values()) + budget.left(experiment) == experiment.sample_budget


def test_rl_on_the_experts_scores_has_none(run) -> None:
    experiment = run("ceiling", repeat_share=0.5)
    assert controls(experiment)["train-0"] == (0, 0)
    assert controls(experiment)["ask-eval-0"][0] > 0


@pytest.mark.parametrize("extra", range(6))
def test_the_budget_is_kept_whatever_the_shares(run, domain, extra) -> None:
    make_gold(domain, 9)
    # the least: looks of 6 + 3 + 3 and 6 + 3 + 3, 8 + 4 + 4 to teach
    experiment = run(repeat_share=0.5, gold_share=0.5, budget=40 + extra)
    paid = Feedback.objects.filter(item__batch__experiment=experiment.name).count()
    assert paid <= 40 + extra
    assert budget.left(experiment) == 40 + extra - paid
    assert budget.spent(experiment)["eval"] >= 12  # it was still measured where it came to


def test_a_budget_that_leaves_out_the_controls_is_refused(make) -> None:
    with pytest.raises(InvalidExperiment) as caught:
        make(repeat_share=0.5, gold_share=0.5, budget=39)
    assert "this plan needs 40" in caught.value.errors["sample_budget"]


def test_people_are_waited_for_by_what_teaches_alone(make, panel, rosa) -> None:
    experiment = actions.start(make(expert=panel, eval_prompts=0, initial=8, repeat_share=0.25, steps=2))
    with dispatch.inline():
        while True:
            runner.advance(experiment.pk)
            job = experiment.jobs.filter(state=Job.State.QUEUED).first()
            if job is None or not follow.run(job.pk):
                break
    experiment.refresh_from_db()
    assert experiment.note.startswith("Waiting for experts: 8 of 8 verdicts")
    assert Item.objects.filter(batch__experiment=experiment.name).count() == 8 + 2


def test_the_estimate_and_the_default_budget_count_them(make) -> None:
    plan = Plan("full-trace", steps=4, segment=2, initial=8, update=4, eval_prompts=3, eval_rollouts=2, **SHARES)
    # three looks of (2 + 3), 2 + 4, 1 + 2
    assert protocol.estimate(plan) == {"eval": 18, "initial": 8, "update": 4, "control": 24}
    assert make(**SHARES).sample_budget == 18 + 8 + 4 + 24


@pytest.mark.parametrize("share", ["repeat_share", "gold_share"])
@pytest.mark.parametrize("value", [0.6, -0.1, math.nan, "some"])
def test_a_share_that_is_none_is_refused(make, share, value) -> None:
    with pytest.raises(InvalidExperiment) as caught:
        make(**{share: value})
    assert list(caught.value.errors) == [share]


@pytest.mark.parametrize(("room", "expected"), [(None, (25, 50)), (75, (25, 50)), (74, (24, 50)), (30, (10, 20)), (1, (0, 1)), (0, (0, 0))])
def test_where_there_is_room_for_fewer_both_kinds_give_way(room, expected) -> None:
    plan = Plan("full-trace", steps=1, segment=1, **SHARES)
    assert plan.controls(100, room) == expected
