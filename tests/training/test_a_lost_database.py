from __future__ import annotations

import threading
import time

import pytest
from django.db import connection

from training import actions, drive
from training.models import Experiment

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.slow
def test_connections_that_break_in_the_middle_of_everything_lose_nothing(make, run, monkeypatch) -> None:
    undisturbed = run("ceiling", name="undisturbed", steps=8, segment=4)
    monkeypatch.setenv("TOY_SECONDS", "0.1")
    experiment = actions.start(make("ceiling", steps=8, segment=4))
    errors: list[BaseException] = []

    def work() -> None:
        try:
            drive.drive(experiment.pk)
        except BaseException as exc:
            errors.append(exc)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    broken = 0
    while thread.is_alive():
        time.sleep(0.3)
        with connection.cursor() as cursor:
            cursor.execute(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            )
            broken += cursor.fetchone()[0]
    experiment.refresh_from_db()
    assert errors == []
    assert experiment.state == Experiment.State.DONE, experiment.note
    assert broken >= 5
    assert [s.outcome for s in experiment.stages.all()] == [s.outcome for s in undisturbed.stages.all()]
    assert [m.data for m in experiment.step_metrics.all()] == [m.data for m in undisturbed.step_metrics.all()]
