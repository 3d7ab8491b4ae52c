"""One round with real models: the pocket base samples, grades, is taught the expert's words and rewards a step of GRPO."""

from __future__ import annotations

import pytest

from annotation.models import ProxyGrade
from training import actions, drive
from training.models import Experiment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.training, pytest.mark.slow]


def test_a_round_of_distillation_and_rl(rosa, domain, critic, settings) -> None:
    settings.TRAINING_ENGINE = "training.engine"
    plan = {
        "steps": 1,
        "segment": 1,
        "initial": 8,
        "update": 8,
        "per_prompt": 4,
        "eval_prompts": 2,
        "eval_rollouts": 2,
        "prompts_per_step": 2,
        "group": 2,
    }
    plan |= {"epochs": 1, "unscored_limit": 1}
    experiment = actions.create_experiment(name="real", owner=rosa, domain=domain, expert=critic, preset="pocket-full-trace", changes=plan)
    experiment = drive.drive(actions.start(experiment).pk)
    assert experiment.state == Experiment.State.DONE, experiment.note
    metric = experiment.step_metrics.get()
    assert {"reward", "unscored_rate", "unique_rate", "loss", "seconds"} <= set(metric.data)
    # 4 rollouts of step 0 by versions 1 and 2, 4 of the RL step, 4 of step 1, with two traces each
    assert ProxyGrade.objects.filter(run__startswith="real/").count() == 2 * (4 + 4 + 4 + 4)
    base, trained = experiment.checkpoints.all()
    assert base.digest != trained.digest
    assert experiment.proxies.get(number=2).feedback.count() == 8
