"""Each fault ends in a state that says what happened and what to do; resume goes on from there."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time

import pytest
from django.db import connection

from annotation.models import Expert
from training import actions, asking, drive, runner, tasks
from training.errors import StageFailed
from training.models import Experiment, Job

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
State = Experiment.State


def test_a_job_that_fails_says_why_and_resume_tries_again(make, monkeypatch) -> None:
    experiment = actions.start(make("weak-proxy", stop_after_falls=0))
    monkeypatch.setenv("TOY_FAIL", "rl No space left on device.")
    experiment = drive.drive(experiment.pk)
    assert (experiment.state, experiment.note) == (State.FAILED, "No space left on device. Mend it.")
    job = experiment.jobs.get(kind="rl")
    assert (job.state, job.result["status"]) == (Job.State.FAILED, "failed")
    monkeypatch.delenv("TOY_FAIL")
    actions.resume(experiment)
    assert drive.drive(experiment.pk).state == State.DONE
    assert list(experiment.step_metrics.values_list("step", flat=True)) == [1, 2, 3, 4]


def test_a_process_that_dies_again_and_again_fails_with_its_last_words(make, model, settings) -> None:
    experiment = actions.start(make("weak-proxy"))
    settings.TRAINING_ENGINE = "tests.training.toy.nowhere"  # python -m says so and exits, without a result
    experiment = drive.drive(experiment.pk)
    assert experiment.state == State.FAILED
    assert experiment.note.startswith("The process of stories/sample-0 ended 3 times without a result. Resume to try again. Its last words:")
    assert "No module named" in experiment.note
    settings.TRAINING_ENGINE = "tests.training.toy"
    actions.resume(experiment)
    assert drive.drive(experiment.pk).state == State.DONE


def test_a_killed_trainer_is_started_again_and_nothing_counts_twice(make, run, monkeypatch) -> None:
    monkeypatch.setenv("TOY_SECONDS", "0.1")
    experiment = actions.start(make("ceiling", steps=6, segment=6))

    def kill_once() -> None:
        try:
            while not (job := experiment.jobs.filter(kind="rl", pid__isnull=False, progress__done__gte=3).first()):
                time.sleep(0.02)
            os.kill(job.pid, signal.SIGKILL)
        finally:
            connection.close()

    killer = threading.Thread(target=kill_once)
    killer.start()
    experiment = drive.drive(experiment.pk)
    killer.join()
    assert experiment.state == State.DONE
    assert experiment.jobs.get(kind="rl").attempts == 2
    from training.budget import spent

    assert spent(experiment) == {"eval": 12, "reward": 24}
    monkeypatch.delenv("TOY_SECONDS")
    undisturbed = run("ceiling", name="other", steps=6, segment=6)
    assert [m.data for m in experiment.step_metrics.all()] == [m.data for m in undisturbed.step_metrics.all()]
    assert experiment.checkpoints.get(step=6).digest == undisturbed.checkpoints.get(step=6).digest


def test_a_model_that_is_gone_cannot_be_started_from(make, model) -> None:
    experiment = make()
    shutil.rmtree(model)
    with pytest.raises(StageFailed, match="cannot be read: no"):
        actions.start(experiment)
    experiment.refresh_from_db()
    assert experiment.state == State.DRAFT


def test_a_folder_that_cannot_be_written_fails_in_words(make, settings, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    settings.JOBS_DIR = tmp_path / "file"
    experiment = actions.start(make())
    runner.advance(experiment.pk)
    experiment.refresh_from_db()
    assert experiment.state == State.FAILED
    assert "cannot be written: Not a directory. Make room or permit it, then resume." in experiment.note


def test_an_error_that_nobody_foresaw_ends_in_a_state_too(make) -> None:
    experiment = actions.start(make())
    Experiment.objects.filter(pk=experiment.pk).update(config={**experiment.config, "eval_prompts": [999999] * 3})
    runner.advance(experiment.pk)
    experiment.refresh_from_db()
    assert experiment.state == State.FAILED
    assert "KeyError: 999999" in experiment.note


def test_a_secret_in_the_experts_options_does_not_get_into_a_job_folder(make, settings) -> None:
    experiment = actions.start(make("ceiling"))
    settings.EXPERTS = {"pocket": {**settings.EXPERTS["pocket"], "OPTIONS": {"api_key": "sk-1"}}}
    with_key = experiment.expert
    with pytest.raises(StageFailed, match="hold a secret"):
        asking.judge(experiment)
    assert with_key.options == {}


def test_a_secret_of_the_expert_that_writes_rubrics_gets_into_no_config_and_no_job_folder(make, settings) -> None:
    model = {"backend": "grading.models.scripted.ScriptedModel", "options": {"api_key": "sk-1"}}
    settings.EXPERTS = {"editor": {"BACKEND": "grading.graders.Grader", "OPTIONS": {"prompts": ["{CONTENT}"], "model": model}}}
    editor = Expert.objects.create(alias="editor", name="The editor", kind=Expert.Kind.LLM, backend="editor")
    with pytest.raises(StageFailed, match=r"The editor in settings\.EXPERTS hold a secret"):
        actions.start(make("rubric", expert=editor))
    assert "sk-1" not in str(list(Experiment.objects.values_list("config", flat=True)))
    assert actions.start(make("full-trace", name="no-writer", expert=editor)).config["writers"] == {}, "nobody writes for it"


def test_an_expert_that_refuses_to_answer_fails_it_in_words_and_resume_asks_again(make, settings) -> None:
    pocket = settings.EXPERTS["pocket"]
    experiment = actions.start(make("weak-proxy", steps=2))
    settings.EXPERTS = {"pocket": {"BACKEND": "tests.training.experts.LockedOut", "OPTIONS": {}}}
    experiment = drive.drive(experiment.pk)
    assert (experiment.state, experiment.note) == (State.FAILED, "The critic did not answer: the key is not valid. Mend it, then resume.")
    settings.EXPERTS = {"pocket": pocket}
    actions.resume(experiment)
    assert drive.drive(experiment.pk).state == State.DONE


def test_an_expert_that_is_overloaded_is_asked_again(make, settings) -> None:
    from tests.training.experts import Overloaded

    Overloaded.calls = 0
    settings.EXPERTS = {"pocket": {"BACKEND": "tests.training.experts.Overloaded", "OPTIONS": {}}}
    assert drive.drive(actions.start(make("weak-proxy", steps=2)).pk).state == State.DONE
    assert Overloaded.calls > 2


def test_a_broker_that_is_down_loses_nothing(make, settings) -> None:
    from config.celery import app

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = app.conf.broker_url, app.conf.broker_write_url
    app.conf.broker_url = app.conf.broker_write_url = f"redis://127.0.0.1:{port}/0"
    app.amqp._producer_pool = None
    try:
        experiment = actions.start(make())  # its task cannot be sent
        assert experiment.state == State.RUNNING
    finally:
        app.conf.broker_url, app.conf.broker_write_url = before
        app.amqp._producer_pool = None
    tasks.advance(experiment.pk)  # what the sweep sends for every running experiment
    assert experiment.jobs.get().state == Job.State.QUEUED
