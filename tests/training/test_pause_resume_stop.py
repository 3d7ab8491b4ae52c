from __future__ import annotations

import threading
import time

import pytest
from django.db import connection

from annotation.models import AuditEntry
from training import actions, drive
from training.errors import WrongState
from training.models import Experiment, Job

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
State = Experiment.State


@pytest.fixture
def slowly(monkeypatch) -> None:
    monkeypatch.setenv("TOY_SECONDS", "0.1")


def until(experiment: Experiment, done) -> None:
    for _ in range(600):
        experiment.refresh_from_db()
        if done():
            return
        time.sleep(0.02)
    raise AssertionError(f"still {experiment.state}: {experiment.note}")


def running(experiment: Experiment) -> threading.Thread:
    def work() -> None:
        try:
            drive.drive(experiment.pk)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_paused_job_stops_at_its_next_step_and_resume_ends_with_the_same_numbers(slowly, make, run) -> None:
    experiment = actions.start(make("weak-proxy", steps=6, segment=6, stop_after_falls=0))
    thread = running(experiment)
    until(experiment, lambda: experiment.step_metrics.count() >= 1)
    actions.pause(experiment)
    thread.join(20)
    experiment.refresh_from_db()
    job = experiment.jobs.get(kind="rl")
    assert (experiment.state, job.state) == (State.PAUSED, Job.State.STOPPED)
    assert experiment.step_metrics.count() < 6
    actions.resume(experiment)
    experiment = drive.drive(experiment.pk)
    assert experiment.state == State.DONE, experiment.note
    undisturbed = run("weak-proxy", name="other", steps=6, segment=6, stop_after_falls=0)

    def numbers(e: Experiment) -> list:
        return list(e.measurements.values_list("name", "step", "value")) + [m.data for m in e.step_metrics.all()]

    assert numbers(experiment) == numbers(undisturbed)


def test_a_paused_experiment_begins_nothing(make) -> None:
    experiment = actions.pause(actions.start(make()))
    drive.drive(experiment.pk)
    assert not experiment.jobs.exists()


def test_stop_ends_the_job_and_is_final(slowly, make) -> None:
    experiment = actions.start(make("weak-proxy", steps=50, segment=50))
    thread = running(experiment)
    until(experiment, lambda: experiment.step_metrics.exists())
    actions.stop(experiment, reason="enough seen")
    thread.join(20)
    experiment.refresh_from_db()
    assert (experiment.state, experiment.note) == (State.STOPPED, "Stopped: enough seen")
    assert experiment.ended is not None
    assert experiment.jobs.get(kind="rl").state == Job.State.STOPPED
    for action in (actions.start, actions.pause, actions.resume):
        with pytest.raises(WrongState, match="it is stopped"):
            action(experiment)
    with pytest.raises(WrongState):
        actions.stop(experiment, reason="again")


def test_what_cannot_be_done_is_refused_in_words(make) -> None:
    experiment = make()
    with pytest.raises(WrongState, match="stories cannot be paused: it is not started"):
        actions.pause(experiment)
    actions.start(experiment)
    with pytest.raises(WrongState, match="cannot be started: it is running"):
        actions.start(experiment)
    with pytest.raises(WrongState, match="cannot be resumed: it is running"):
        actions.resume(experiment)


def test_each_decision_is_on_record_with_who_made_it(make, rosa, otto) -> None:
    experiment = make()
    actions.start(experiment, actor=rosa)
    actions.pause(experiment, actor=otto)
    actions.resume(experiment, actor=rosa)
    actions.stop(experiment, reason="done", actor=otto)
    entries = AuditEntry.objects.filter(target="experiment:stories").order_by("id").values_list("verb", "actor__username")
    assert list(entries) == [("created", "rosa"), ("started", "rosa"), ("paused", "otto"), ("resumed", "rosa"), ("stopped", "otto")]


def test_the_prompts_and_wording_of_the_start_are_kept_whatever_is_edited_later(make, domain) -> None:
    experiment = actions.start(make())
    before = experiment.config
    domain.grading_prompt = "Another {INSTRUCTIONS} {CONTENT}"
    domain.save()
    drive.drive(experiment.pk)
    experiment.refresh_from_db()
    assert experiment.config == before
    assert experiment.proxies.get(number=3).judge["options"]["prompts"] == [before["grading_prompt"]]
