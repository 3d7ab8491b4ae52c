"""What people decide about experiments: make, start, pause, resume, stop. Each is one transaction with its audit entry, and an event on commit."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from annotation.actions import ask_again, close_batch
from annotation.events import announce
from annotation.experts import snapshot
from annotation.models import AuditEntry, Batch, Domain, Expert
from grading.realign.rubric import lacking
from grading.types import TraceFormat
from training import dispatch, writers
from training.errors import InvalidExperiment, WrongState
from training.models import Experiment, Job, ProxyVersion
from training.start import freeze, set_up
from training.validation import Wishes, check, check_change

log = logging.getLogger(__name__)
State = Experiment.State


def visible_to(user: Any) -> QuerySet[Experiment]:
    """The experiments that `user` may see: their own, those shared with them alone or in a suite; all of them for an admin."""
    if user.is_superuser:
        return Experiment.objects.all()
    if not user.is_authenticated:
        return Experiment.objects.none()
    # No join that doubles rows: an owner may be a member too.
    shared = Q(pk__in=user.shared_experiments.values("pk")) | Q(suite__in=user.shared_suites.values("pk"))
    return Experiment.objects.filter(Q(owner=user) | shared)


def create_experiment(
    *,
    name: str,
    owner: Any,
    domain: Domain | None,
    expert: Expert | None,
    preset: str = "",
    changes: dict[str, Any] | None = None,
    policy: str = "",
    proxy: str = "",
    title: str = "",
    seed: int = 1,
    sample_budget: int | None = None,
    proxy_version: ProxyVersion | None = None,
    actor: Any = None,
) -> Experiment:
    """A new experiment, not started. The plan is that of `preset` with `changes` (any field of `presets.Plan`).

    No `policy` means the pocket base; no `sample_budget` means what the protocol needs if nothing ends early.
    `proxy_version` of another experiment is the first proxy of this one. Raises `InvalidExperiment` with a message for every field that is wrong.
    """
    wishes = Wishes(name, title, domain, expert, preset, changes or {}, policy, proxy, seed, sample_budget, owner, proxy_version)
    plan, values = check(wishes)
    try:
        with transaction.atomic():
            experiment = Experiment.objects.create(owner=owner, config={"plan": plan.to_dict()}, **values)
            _recorded(experiment, "created", actor or owner, preset=preset, plan=plan.to_dict(), sample_budget=experiment.sample_budget)
    except IntegrityError as exc:
        raise InvalidExperiment({"name": f"There is an experiment called {name!r} already; choose another name."}) from exc
    return experiment


def start(experiment: Experiment, *, actor: Any = None) -> Experiment:
    """Freeze what its results will depend on, and begin. Raises `WrongState` unless it is a draft, `StageFailed` where its models are gone."""
    with transaction.atomic():
        experiment = _locked(experiment, State.DRAFT, "started")
        experiment.config = freeze(experiment)
        experiment.started = timezone.now()
        set_up(experiment)
        return _moved(experiment, State.RUNNING, "Starting.", "started", actor)


def pause(experiment: Experiment, *, actor: Any = None) -> Experiment:
    """Nothing new begins; a running job saves and stops at its next step. Raises `WrongState` unless it is running or waiting."""
    with transaction.atomic():
        experiment = _locked(experiment, *Experiment.ACTIVE, doing="paused")
        transaction.on_commit(partial(_ask_to_stop, experiment), robust=True)
        return _moved(experiment, State.PAUSED, "Paused. A running job stops at its next step; resume goes on from there.", "paused", actor)


def resume(experiment: Experiment, *, actor: Any = None) -> Experiment:
    """Go on after a pause or a failure: what failed is tried again, from where it was. Raises `WrongState` in other states."""
    from training.jobs import requeue

    with transaction.atomic():
        experiment = _locked(experiment, State.PAUSED, State.FAILED, doing="resumed")
        experiment.ended = None
        for job in experiment.jobs.exclude(state=Job.State.DONE):
            requeue(job)
        ask_again(experiment.name)
        return _moved(experiment, State.RUNNING, "Going on.", "resumed", actor)


def stop(experiment: Experiment, *, reason: str, actor: Any = None) -> Experiment:
    """End it for good; what it has made so far is kept. Raises `WrongState` if it has ended already."""
    with transaction.atomic():
        experiment = _locked(experiment, State.DRAFT, *Experiment.ACTIVE, State.PAUSED, State.FAILED, doing="stopped")
        experiment.ended = timezone.now()
        experiment.jobs.filter(state=Job.State.QUEUED).update(state=Job.State.STOPPED, ended=timezone.now())
        for batch in Batch.objects.filter(experiment=experiment.name, closed=None):
            close_batch(batch, actor=actor, reason=f"The experiment was stopped: {reason}"[:300])
        transaction.on_commit(partial(_ask_to_stop, experiment), robust=True)
        return _moved(experiment, State.STOPPED, f"Stopped: {reason}", "stopped", actor, reason=reason)


def change(
    experiment: Experiment,
    *,
    reason: str,
    expert: Expert | None = None,
    strategy: str | None = None,
    sample_budget: int | None = None,
    actor: Any = None,
) -> Experiment:
    """Change who is asked, how texts are chosen, or how many verdicts at most, from the next batch on. What was before is in the audit log.

    The expert changes between rounds alone: while verdicts are still to come there is no telling whose a batch would be. Raises
    `InvalidExperiment` (what is wrong, by field), `WrongState` where it has ended or is in the middle of a round.
    """
    with transaction.atomic():
        row = _locked(experiment, State.DRAFT, *Experiment.ACTIVE, State.PAUSED, State.FAILED, doing="changed")
        before = {"expert": row.expert.alias, "strategy": row.plan.strategy, "sample_budget": row.sample_budget}
        row.expert, plan = expert or row.expert, replace(row.plan, strategy=strategy or row.plan.strategy)
        row.sample_budget = row.sample_budget if sample_budget is None else sample_budget
        if errors := check_change(row, plan, actor):
            raise InvalidExperiment(errors)
        after = {"expert": row.expert.alias, "strategy": plan.strategy, "sample_budget": row.sample_budget}
        if before["expert"] != after["expert"] and Batch.objects.filter(experiment=row.name, closed=None).exists():
            raise WrongState("Verdicts are still to come in this round. Change the expert when they are in, or close the batch first.")
        if before == after:
            return row
        row.config = row.config | {"plan": plan.to_dict()}
        if before["expert"] != after["expert"] and row.started is not None:
            row.config |= {"expert": snapshot(row.expert)}
        row.save(update_fields=["expert", "sample_budget", "config"])
        _recorded(row, "changed", actor, reason=reason, before=before, after=after, stages=row.stages.filter(ended__isnull=False).count())
    return row


def write_prompt(experiment: Experiment, text: str, *, actor: Any = None) -> Experiment:
    """Give the search that waits for it a grading prompt that a person wrote, and go on. One whose prompts could not be used gets another.

    Raises `InvalidExperiment` (under "text") where the prompt lacks what a grader needs, `WrongState` where none is waited for.
    """
    from training.jobs import amend, requeue

    with transaction.atomic():
        row = _locked(experiment, *Experiment.ACTIVE, State.FAILED, doing="given a grading prompt")
        search = writers.awaited(row)
        if search is None:
            raise WrongState(f"{row.title} waits for no grading prompt: somebody has written one, or it has gone on.")
        if problem := lacking(text, row.config["grading_prompt"], TraceFormat(**row.config["format"])):
            raise InvalidExperiment({"text": f"{problem} A grader that is not shown the text, or not told how to answer, gives no score."})
        search.arguments["written"] = [*search.arguments.get("written", []), text]
        search.save(update_fields=["arguments"])
        if search.job is not None:
            amend(search.job, given=search.arguments["written"])
            requeue(search.job)
        row.ended = None
        note = f"Trying the grading prompt that was written for step {search.arguments['step']}."
        return _moved(row, State.RUNNING, note, "grading prompt written", actor, stage=search.key)


def _locked(experiment: Experiment, *allowed: str, doing: str = "started") -> Experiment:
    """The row, locked, in one of the states `allowed`."""
    row = Experiment.objects.select_for_update().get(pk=experiment.pk)
    if row.state not in allowed:
        raise WrongState(f"{row.title} cannot be {doing}: it is {row.get_state_display()}.")
    return row


def _moved(experiment: Experiment, state: str, note: str, verb: str, actor: Any, **data: Any) -> Experiment:
    from training import tasks

    experiment.state, experiment.note = state, note
    experiment.save()
    _recorded(experiment, verb, actor, **data)
    if state == State.RUNNING:
        dispatch.send(tasks.advance, experiment.pk)
    return experiment


def _recorded(experiment: Experiment, verb: str, actor: Any, **data: Any) -> None:
    AuditEntry.objects.create(actor=actor, verb=verb, target=f"experiment:{experiment.name}", data=data)
    transaction.on_commit(partial(announce, f"experiment.{experiment.name}", {"event": "experiment.changed", "verb": verb}), robust=True)


def _ask_to_stop(experiment: Experiment) -> None:
    """Whoever follows the jobs sees the state too; the stop file only makes it quicker."""
    for job in experiment.jobs.filter(state=Job.State.RUNNING):
        try:
            (Path(job.folder) / "stop").touch()
        except OSError as exc:
            log.warning("could not leave a stop file in %s: %s", job.folder, exc)
