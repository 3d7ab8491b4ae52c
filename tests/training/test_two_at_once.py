"""Several processes on one experiment: each thing is done once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from annotation.models import Batch
from training import actions, dispatch, drive, follow, runner
from training.budget import spent
from training.models import Experiment, Job, Stage

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(n: int, work: Callable[[], Any]) -> list[Any]:
    results: list[Any] = []
    start = threading.Barrier(n)

    def thread() -> None:
        try:
            start.wait()
            results.append(work())
        except BaseException as exc:
            results.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=thread) for _ in range(n)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return results


def test_eight_advances_begin_one_stage_with_one_job(make) -> None:
    experiment = actions.start(make())

    def advance() -> None:
        with dispatch.inline():
            runner.advance(experiment.pk)

    assert at_once(8, advance) == [None] * 8
    assert Stage.objects.count() == Job.objects.count() == 1


def test_eight_followers_start_one_process(make, monkeypatch) -> None:
    monkeypatch.setenv("TOY_SECONDS", "0.05")
    experiment = actions.start(make())
    runner.advance(experiment.pk)
    job = experiment.jobs.get()
    assert sorted(at_once(8, lambda: follow.run(job.pk))) == [False] * 7 + [True]
    job.refresh_from_db()
    assert (job.state, job.attempts) == (Job.State.DONE, 1)


@pytest.mark.slow
def test_three_drivers_bring_one_experiment_to_its_end(make, run) -> None:
    experiment = actions.start(make(steps=2))
    assert [e.state for e in at_once(3, lambda: drive.drive(experiment.pk))] == [Experiment.State.DONE] * 3
    assert spent(experiment) == {"eval": 12, "initial": 8}
    assert Batch.objects.count() == 3
    undisturbed = run(name="other", steps=2)
    assert [s.outcome for s in experiment.stages.all()] == [s.outcome for s in undisturbed.stages.all()]
    assert list(experiment.measurements.values_list("name", "value")) == list(undisturbed.measurements.values_list("name", "value"))
