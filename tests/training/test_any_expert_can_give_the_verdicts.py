"""The same loop with each kind of expert in turn: one field is changed, and every verdict names who gave it."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from annotation import actions as queue
from annotation.actions import ledger
from annotation.models import AuditEntry, Batch, Expert, Feedback, Price
from tests.annotation.claude import KEY, Claude, entry, text_of
from training import actions, drive
from training.errors import InvalidExperiment, WrongState
from training.models import Experiment
from training.report import report

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
SHORT = {"steps": 2, "segment": 2, "initial": 4, "update": 4, "eval_prompts": 2}


def mixed(**rule: Any) -> Expert:
    return Expert.objects.create(alias="mixed", name="Mixed", kind=Expert.Kind.MIXED, options=rule)


def with_people(experiment: Experiment, *people: Any) -> Experiment:
    """Run it to its end while these people answer whatever comes."""
    over = threading.Event()

    def review() -> None:
        try:
            while not over.wait(0.02):
                for person in people:
                    for claim in queue.claim_next(user=person):
                        queue.submit_feedback(
                            claim.token, key=str(claim.token), critique="I see.", score=len(claim.item.rollout.content) % 100, user=person
                        )
        finally:
            connection.close()

    thread = threading.Thread(target=review)
    thread.start()
    try:
        return drive.drive(actions.start(experiment).pk)
    finally:
        over.set()
        thread.join(20)


def given_by(experiment: Experiment) -> dict[str, int]:
    (entry,) = report([experiment])["experiments"]
    return entry["samples_by_expert"]


def test_a_program(run) -> None:
    experiment = run(**SHORT)
    assert experiment.state == Experiment.State.DONE
    assert given_by(experiment) == {"critic": 4 + 4 + 4}


@pytest.mark.parametrize("batch", [False, True])
def test_a_language_model_by_single_messages_and_by_batches(make, settings, monkeypatch, batch) -> None:
    """The real client against a local server. Its price and a budget in dollars go with it."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with Claude().running() as server:
        server.script = lambda params: {"content": [{"type": "text", "text": trace(text_of(params))}], "stop_reason": "end_turn"}
        settings.EXPERTS = settings.EXPERTS | {"claude": entry(server.url, batch=batch)}
        rates = {"input": 4, "output": 20, "cache_read": Decimal("0.4"), "cache_write": 5, "batch_discount": Decimal("0.5")}
        Price.objects.create(name="opus", since="2026-01-01", **rates)
        claude = Expert.objects.create(alias="claude", name="Claude", kind=Expert.Kind.LLM, backend="claude", price="opus")
        budget = queue.set_budget(unit="money", limit=50, expert=claude)
        experiment = drive.drive(actions.start(make(expert=claude, **SHORT)).pk)
    assert experiment.state == Experiment.State.DONE, experiment.note
    assert given_by(experiment) == {"claude": 12}
    verdicts = Feedback.objects.all()
    assert {tuple(verdict.usage["models"]) for verdict in verdicts} == {("claude-opus-5-5-20261101",)}  # as the server resolved it
    assert {verdict.expert_options["name"] for verdict in verdicts} == {"claude"}
    budget.refresh_from_db()
    usages = [verdict.usage for verdict in verdicts]
    assert {usage.get("batch", False) for usage in usages} == {batch}
    full = sum(
        4 * u["input_tokens"] + 20 * u["output_tokens"] + Decimal("0.4") * u["cache_read_tokens"] + 5 * u["cache_write_tokens"] for u in usages
    )
    assert budget.spent == pytest.approx(full / 1_000_000 * (Decimal("0.5") if batch else 1), abs=Decimal("0.0001"))
    assert not ledger.mismatched()


def trace(text: str) -> str:
    return f"<critique>It has {len(text)} characters.</critique><deliberation>Hm.</deliberation><score>{len(text) % 100}</score>"


def test_people(make, panel, rosa) -> None:
    experiment = with_people(make(expert=panel, **SHORT), rosa)
    assert experiment.state == Experiment.State.DONE, experiment.note
    assert given_by(experiment) == {"panel": 12}
    assert set(Feedback.objects.values_list("author", flat=True)) == {rosa.pk}


def test_a_program_that_people_audit(make, panel, critic, rosa) -> None:
    experiment = with_people(make(expert=mixed(rule="audit", first="critic", then="panel", share=0.5), **SHORT), rosa)
    assert experiment.state == Experiment.State.DONE, experiment.note
    assert given_by(experiment) == {"critic": 12, "panel": 6}
    version = experiment.proxies.get(number=2)
    assert sorted(version.feedback.values_list("expert__alias", flat=True)) == ["critic", "critic", "panel", "panel"]


def test_people_with_a_program_that_steps_in(make, panel, critic, rosa) -> None:
    """Rosa declines all: what nobody else is there for goes to the program."""
    experiment = actions.start(make(expert=mixed(rule="fallback", first="panel", then="critic", hours=1), **SHORT))
    over = threading.Event()

    def decline() -> None:
        from annotation.tasks import sweep

        try:
            while not over.wait(0.02):
                for claim in queue.claim_next(user=rosa):
                    queue.decline(claim.token, user=rosa, reason="expertise")
                sweep()
        finally:
            connection.close()

    thread = threading.Thread(target=decline)
    thread.start()
    try:
        experiment = drive.drive(experiment.pk)
    finally:
        over.set()
        thread.join(20)
    assert experiment.state == Experiment.State.DONE, experiment.note
    assert given_by(experiment) == {"critic": 12}
    assert AuditEntry.objects.filter(verb="rerouted").count() == 12


def test_the_mean_of_three(make, panel, critic, rosa) -> None:
    experiment = with_people(make(expert=mixed(rule="average", experts=["critic", "critic", "panel"]), **SHORT), rosa)
    assert experiment.state == Experiment.State.DONE, experiment.note
    assert given_by(experiment) == {"critic": 24, "panel": 12}
    measured = experiment.measurements.get(name="expert_reward", step=0)
    batch = Batch.objects.get(key="stories/ask-eval-0")
    by_text: dict[int, list[float]] = {}
    for rollout, score in Feedback.objects.filter(item__batch=batch).values_list("item__rollout", "score"):
        by_text.setdefault(rollout, []).append(score)
    assert {len(scores) for scores in by_text.values()} == {3}
    means = [sum(scores) / 3 for scores in by_text.values()]
    assert measured.value == pytest.approx(sum(means) / len(means))
    assert measured.samples == len(means)


class TestChange:
    def test_between_rounds_the_expert_can_be_replaced(self, make, panel, critic, rosa) -> None:
        experiment = make(**SHORT)
        experiment = actions.change(experiment, expert=panel, reason="They have time now.", actor=rosa)
        experiment = with_people(experiment, rosa)
        assert given_by(experiment) == {"panel": 12}
        entry = AuditEntry.objects.get(verb="changed")
        assert (entry.data["before"]["expert"], entry.data["after"]["expert"], entry.data["reason"]) == ("critic", "panel", "They have time now.")

    def test_while_verdicts_are_to_come_it_cannot(self, make, panel, critic, rosa) -> None:
        experiment = actions.start(make(expert=panel, **SHORT))
        batch = queue.select_batch(
            key="x", title="x", domain=experiment.domain, expert=panel, purpose="reward", rollouts=[], experiment=experiment.name
        )
        with pytest.raises(WrongState, match="still to come"):
            actions.change(experiment, expert=critic, reason="Quicker.", actor=rosa)
        queue.close_batch(batch)
        assert actions.change(experiment, expert=critic, reason="Quicker.", actor=rosa).expert == critic

    def test_strategy_and_budget_hold_at_once(self, make, rosa) -> None:
        experiment = actions.start(make(**SHORT))
        changed = actions.change(experiment, strategy="max-variance", sample_budget=7, reason="To learn more.", actor=rosa)
        assert (changed.plan.strategy, changed.sample_budget) == ("max-variance", 7)
        assert Experiment.objects.get().plan.strategy == "max-variance"

    @pytest.mark.parametrize(("wish", "field"), [({"strategy": "luck"}, "strategy"), ({"sample_budget": 0}, "sample_budget")])
    def test_what_makes_no_sense_is_refused(self, make, rosa, wish, field) -> None:
        with pytest.raises(InvalidExperiment) as caught:
            actions.change(make(**SHORT), reason="Hm.", actor=rosa, **wish)
        assert set(caught.value.errors) == {field}

    def test_an_expert_that_one_may_not_use_is_refused(self, make, panel, rosa, otto) -> None:
        panel.users.add(otto)
        with pytest.raises(InvalidExperiment, match="may not use"):
            actions.change(make(**SHORT), expert=panel, reason="Hm.", actor=rosa)
