"""Where no language model writes, the search waits for a grading prompt of a person, and goes on with that."""

from __future__ import annotations

import pytest

from annotation.models import AuditEntry
from tests.training.test_people_as_experts import answer, until_nothing_moves
from training import actions
from training.errors import InvalidExperiment, WrongState
from training.models import Candidate, Experiment, Job

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
SHORT = {"eval_prompts": 0, "initial": 3, "validation_prompts": 1, "validation_rollouts": 2, "check": 2, "search": 3, "realignments": 1, "steps": 2}


@pytest.fixture
def waiting(make, panel, rosa) -> Experiment:
    """Rubric prompts by a panel, whose verdicts are in: 3 to learn from and 2 to try prompts on."""
    experiment = actions.start(make("rubric", expert=panel, **SHORT))
    until_nothing_moves(experiment)
    for round_ in (3, 2):
        for i in range(round_):
            answer(rosa, f"Verdict {i} of {round_}.", 20.0 + 30 * i)
        until_nothing_moves(experiment)
    return experiment


def prompt_of(experiment: Experiment) -> str:
    return f"Look at the lantern first.\n{experiment.config['grading_prompt']}"


def test_it_waits_for_a_person_and_says_so(waiting) -> None:
    assert waiting.state == Experiment.State.WAITING
    assert waiting.note == "Waiting for a person to write a grading prompt for step 0, from the expert's feedback."


def test_it_goes_on_with_what_they_wrote(waiting, rosa) -> None:
    actions.write_prompt(waiting, prompt_of(waiting), actor=rosa)
    until_nothing_moves(waiting)
    version = waiting.proxies.get(number=2)
    assert version.judge["options"]["prompts"] == [prompt_of(waiting)]
    assert [c.number for c in Candidate.objects.filter(stage__experiment=waiting)] == [0, 1]
    assert waiting.note.startswith("Waiting for experts: 2 of 2 verdicts")  # the check
    entry = AuditEntry.objects.get(verb="grading prompt written")
    assert (entry.actor, entry.data) == (rosa, {"stage": "search-0"})


def test_a_prompt_that_no_grader_could_answer_is_refused_and_it_waits_on(waiting, rosa) -> None:
    with pytest.raises(InvalidExperiment) as caught:
        actions.write_prompt(waiting, "Is {CONTENT} good?", actor=rosa)
    assert caught.value.errors["text"].startswith("The written prompt lacks {INSTRUCTIONS}.")
    until_nothing_moves(waiting)
    assert waiting.state == Experiment.State.WAITING
    assert not AuditEntry.objects.filter(verb="grading prompt written").exists()


def test_it_is_written_once(waiting, rosa) -> None:
    actions.write_prompt(waiting, prompt_of(waiting), actor=rosa)
    with pytest.raises(WrongState, match="waits for no grading prompt"):
        actions.write_prompt(waiting, prompt_of(waiting), actor=rosa)


def test_one_that_turned_out_useless_gets_another(waiting, rosa, monkeypatch) -> None:
    actions.write_prompt(waiting, prompt_of(waiting), actor=rosa)
    monkeypatch.setenv("TOY_FAIL", "search none of the 1 candidates can be chosen")
    until_nothing_moves(waiting)
    assert waiting.state == Experiment.State.FAILED
    monkeypatch.delenv("TOY_FAIL")
    actions.write_prompt(waiting, "Again. " + prompt_of(waiting), actor=rosa)
    until_nothing_moves(waiting)
    assert waiting.stages.get(key="search-0").job.state == Job.State.DONE
    tried = Candidate.objects.filter(stage__experiment=waiting, number__gt=0).values_list("prompts", flat=True)
    assert list(tried) == [[prompt_of(waiting)], ["Again. " + prompt_of(waiting)]]


def test_a_paused_one_takes_none(waiting, rosa) -> None:
    actions.pause(waiting)
    with pytest.raises(WrongState, match="it is paused"):
        actions.write_prompt(waiting, prompt_of(waiting), actor=rosa)


@pytest.mark.parametrize("method", ["per-prompt-rubric", "prompt-optimisation"])
def test_more_prompts_than_a_person_would_write_need_a_model(method, make, critic, settings) -> None:
    settings.WRITERS = {}
    with pytest.raises(InvalidExperiment) as caught:
        make(method)
    assert "needs a language model that writes its prompts, and The critic comes with none" in caught.value.errors["expert"]


def test_before_it_starts_its_expert_cannot_become_one_without_a_writer(make, panel) -> None:
    experiment = make("per-prompt-rubric")
    with pytest.raises(InvalidExperiment, match="The panel comes with none"):
        actions.change(experiment, expert=panel, reason="people know better")
