"""Whatever is wrong with a new experiment is said field by field, in words."""

from __future__ import annotations

from typing import Any

import pytest

from annotation.models import AuditEntry
from training import actions
from training.errors import InvalidExperiment
from training.models import Experiment
from training.protocol import PROTOCOLS

pytestmark = pytest.mark.django_db


@pytest.fixture
def errors(make):
    def errors(*args: Any, **kwargs: Any) -> dict[str, str]:
        with pytest.raises(InvalidExperiment) as caught:
            make(*args, **kwargs)
        assert not Experiment.objects.exists()
        return caught.value.errors

    return errors


def test_a_good_one_is_a_draft_with_its_whole_plan_and_an_audit_entry(make, rosa) -> None:
    experiment = make(steps=4)
    assert experiment.state == Experiment.State.DRAFT
    assert experiment.plan.steps == 4
    assert AuditEntry.objects.get(target="experiment:stories").actor == rosa


def test_without_a_budget_it_gets_what_its_plan_needs(make) -> None:
    assert make().sample_budget == 3 * 6 + 8 + 4  # three looks, initial, update


def test_an_unknown_protocol_is_named_with_those_there_are(errors) -> None:
    assert errors("guesswork")["protocol"] == f"There is no protocol 'guesswork'; there are {', '.join(PROTOCOLS)}."


def test_an_unknown_strategy_is_named(errors) -> None:
    assert "no selection strategy 'cleverness'" in errors(strategy="cleverness")["strategy"]


def test_an_unknown_number_of_the_plan_is_named(errors) -> None:
    assert errors(stepps=3) == {"plan": "A plan has no stepps."}


def test_an_unknown_preset_is_named(rosa, domain, critic, model) -> None:
    with pytest.raises(InvalidExperiment, match="no preset 'huge'"):
        actions.create_experiment(name="x", owner=rosa, domain=domain, expert=critic, preset="huge", policy=model)


def test_without_preset_or_plan_it_says_what_is_missing(rosa, domain, critic, model) -> None:
    with pytest.raises(InvalidExperiment, match="The plan lacks protocol, segment, steps"):
        actions.create_experiment(name="x", owner=rosa, domain=domain, expert=critic, policy=model)


def test_an_inactive_expert_cannot_be_asked(errors, critic) -> None:
    critic.active = False
    critic.save()
    assert "not active any more" in errors()["expert"]


def test_people_cannot_be_the_ceilings_reward(errors, panel) -> None:
    assert errors("ceiling", expert=panel) == {"expert": "Ceiling needs an expert that answers by itself: a language model or a program, not people."}


def test_a_panel_without_members_is_refused(errors, panel) -> None:
    panel.members.clear()
    assert "Nobody is a member of The panel" in errors(expert=panel)["expert"]


def test_an_expert_whose_backend_is_gone_is_refused(errors, critic) -> None:
    critic.backend = "lost"
    critic.save()
    assert "not among settings.EXPERTS" in errors()["expert"]


def test_a_path_that_is_no_model_folder_is_refused(rosa, domain, critic, tmp_path) -> None:
    def attempt(**paths: str) -> dict[str, str]:
        with pytest.raises(InvalidExperiment) as caught:
            actions.create_experiment(name="x", owner=rosa, domain=domain, expert=critic, preset="pocket-full-trace", **paths)
        return caught.value.errors

    assert "There is no folder" in attempt(policy=str(tmp_path / "nowhere"))["policy"]
    assert "is no model folder" in attempt(proxy=str(tmp_path))["proxy"]


@pytest.mark.parametrize("budget", [0, -3])
def test_a_budget_of_nothing_is_refused(errors, budget) -> None:
    assert "asks the expert nothing" in errors(budget=budget)["sample_budget"]


def test_a_budget_that_does_not_reach_the_first_result_is_refused(errors) -> None:
    # initial 8, and two looks of 6
    assert "this plan needs 20" in errors(budget=19)["sample_budget"]


def test_more_prompts_than_the_domain_has_are_refused(errors) -> None:
    found = errors(eval_prompts=6, prompts_per_step=13, initial=100)
    assert "6 eval prompts are asked for, and Pocket stories has 5" in found["eval_prompts"]
    assert "has 12" in found["prompts_per_step"]
    assert "The pool would take 25 train prompts" in errors(initial=100)["per_prompt"]


@pytest.mark.parametrize("field", ["steps", "segment", "proxy_n", "learning_rate"])
@pytest.mark.parametrize("value", [0, -1, "many", None])
def test_numbers_that_make_no_sense_are_refused(errors, field, value) -> None:
    assert list(errors(**{field: value})) == [field]


def test_a_group_of_one_has_no_advantages(errors) -> None:
    assert "at least 2 rollouts" in errors(group=1)["group"]


def test_the_proxys_grades_at_a_check_go_with_enough_verdicts(errors, make) -> None:
    assert "at least the 10 that the expert judges" in errors("rubric", check=10, check_graded=9)["check_graded"]
    for graded in (3, 7, 12):
        assert "fewer than 8 verdicts at a check (4)" in errors("rubric", check=4, check_graded=graded)["check_graded"]
    make("rubric", check=8, check_graded=12)


@pytest.mark.parametrize("name", ["", "two words", "ünï", "x" * 81, "a/b"])
def test_a_name_must_serve_as_a_folder_and_in_a_url(errors, name) -> None:
    assert "letters, digits" in errors(name=name)["name"]


def test_a_name_is_given_once(make) -> None:
    make()
    with pytest.raises(InvalidExperiment, match="already"):
        make()


def test_all_that_is_wrong_is_said_at_once(errors) -> None:
    assert set(errors(name="two words", eval_prompts=9, budget=0)) == {"name", "eval_prompts", "sample_budget"}
