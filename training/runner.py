"""Carries the stages of an experiment out, one after the other, as far as it goes without waiting.

The rows are the truth: whoever calls `advance`, however often and at whatever moment the last one died, finds the stage that is open and goes on
with it. Jobs and experts work elsewhere; nothing is waited for here.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial

from django.db import DatabaseError, transaction
from django.utils import timezone

from annotation.events import announce
from annotation.models import AuditEntry
from training import measures, protocol, stages
from training.errors import StageFailed
from training.models import Experiment, Stage

log = logging.getLogger(__name__)
State = Experiment.State


def advance(experiment_id: int) -> None:
    """Go on with the experiment until it waits for something or has ended. A failure ends up in its state and note; resume goes on."""
    try:
        while _step(experiment_id):
            pass
    except StageFailed as exc:
        fail(experiment_id, exc.note)
    except DatabaseError:
        raise  # the database may be away for a moment; whoever comes next goes on
    except Exception as exc:
        log.exception("experiment %s failed", experiment_id)
        fail(experiment_id, f"{type(exc).__name__}: {exc}. Mend what it names, then resume.")


def _step(experiment_id: int) -> bool:
    """Begin or end one stage. False when there is nothing more to do now."""
    with transaction.atomic():
        # Advances queue up here, so that what one of them sees is what the one before it left.
        experiment = Experiment.objects.select_for_update().get(pk=experiment_id)
        if experiment.state not in Experiment.ACTIVE:
            return False
        stage = protocol.next_stage(experiment.plan, outcomes(experiment))
        if isinstance(stage, protocol.Finish):
            _finish(experiment, stage)
            return False
        row, _ = Stage.objects.select_related("job", "batch").get_or_create(
            experiment=experiment,
            key=stage.key,
            defaults={"number": experiment.stages.count() + 1, "kind": type(stage).__name__.lower(), "arguments": asdict(stage)},
        )
        progress = stages.carry_out(experiment, row, stage)
        row.save()
        if progress.outcome is None:
            _say(experiment, State.WAITING if progress.people else State.RUNNING, progress.note)
            return False
    # Statistics take their time, and only read: no lock is held meanwhile.
    measured = measures.of(experiment, row, stage)
    with transaction.atomic():
        row = Stage.objects.select_for_update().get(pk=row.pk)
        if row.ended is None:  # else another advance was quicker, with the same numbers
            measures.store(row, measured)
            row.outcome, row.ended = progress.outcome, timezone.now()
            row.save()
            _tell(experiment, "stage", stage=row.key)
    return True


def outcomes(experiment: Experiment) -> list[tuple[str, protocol.Outcome]]:
    """What the protocol is told: the outcomes of the stages that have ended, in order."""
    return [(s.key, s.outcome or {}) for s in experiment.stages.filter(ended__isnull=False).order_by("number")]


def _finish(experiment: Experiment, finish: protocol.Finish) -> None:
    experiment.ended, experiment.best_step = timezone.now(), finish.best_step
    _say(experiment, State.DONE, f"Done: {finish.reason}. Its policy is that of step {finish.best_step}.")
    _audit(experiment, "finished", reason=finish.reason, best_step=finish.best_step)


def fail(experiment_id: int, note: str) -> None:
    """Leave an active experiment failed, with what happened and what to do; resume goes on from there."""
    with transaction.atomic():
        experiment = Experiment.objects.select_for_update().get(pk=experiment_id)
        if experiment.state in Experiment.ACTIVE:  # a person may have stopped it since
            experiment.ended = timezone.now()
            _say(experiment, State.FAILED, note)
            _audit(experiment, "failed", note=note)


def _say(experiment: Experiment, state: str, note: str) -> None:
    if (experiment.state, experiment.note) == (state, note):
        return
    experiment.state, experiment.note = state, note
    experiment.save(update_fields=["state", "note", "ended", "best_step"])
    _tell(experiment, "state", state=state)


def _tell(experiment: Experiment, what: str, **data: str) -> None:
    transaction.on_commit(partial(announce, f"experiment.{experiment.name}", {"event": f"experiment.{what}", **data}), robust=True)


def _audit(experiment: Experiment, verb: str, **data: object) -> None:
    AuditEntry.objects.create(verb=verb, target=f"experiment:{experiment.name}", data=data)
