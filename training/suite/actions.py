"""What people decide about suites: make, start and stop one; and making the experiments of a suite as their turn comes."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from annotation.models import AuditEntry, Domain, Expert
from training import actions
from training.errors import ExperimentError, InvalidExperiment
from training.models import Experiment, ProxyVersion, Suite
from training.paper import EVERY
from training.presets import Plan
from training.suite.plan import Arm, Base, Planned, planned
from training.validation import Wishes, check

log = logging.getLogger(__name__)
State = Experiment.State


def visible_to(user: Any) -> QuerySet[Suite]:
    """The suites that `user` may see: their own, those shared with them; all of them for an admin."""
    if user.is_superuser:
        return Suite.objects.all()
    if not user.is_authenticated:
        return Suite.objects.none()
    return Suite.objects.filter(Q(owner=user) | Q(pk__in=user.shared_suites.values("pk")))


def create_suite(
    *,
    name: str,
    owner: Any,
    domain: Domain | None,
    expert: Expert | None,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    bases: Sequence[Base],
    ceiling: str = "ceiling",
    title: str = "",
) -> Suite:
    """A new suite, not started; its experiments are made as their turn comes. PGR is measured against the arm `ceiling`.

    Raises `InvalidExperiment` with a message for every field that is wrong, those of an arm's plan among them.
    """
    config = {"arms": [asdict(arm) for arm in arms], "seeds": list(seeds), "bases": [asdict(base) for base in bases], "ceiling": ceiling}
    made = Suite(name=name, title=title.strip() or name, owner=owner, config=config)
    errors: dict[str, str] = {}
    _identity(made, errors)
    _shape(arms, seeds, bases, ceiling, errors)
    if ceiling not in [arm.name for arm in arms]:
        errors["ceiling"] = f"There is no arm {ceiling}, which the others would be measured against."
    if domain is None:
        errors["domain"] = "Choose a domain."
    if expert is None:
        errors["expert"] = "Choose who gives the ground truth."
    if not errors:
        made.domain, made.expert = domain, expert  # type: ignore[assignment]
        _plans(made, errors)
    if errors:
        raise InvalidExperiment(errors)
    try:
        with transaction.atomic():
            made.save()
            _recorded(made, "created", owner, **config)
    except IntegrityError as exc:
        raise InvalidExperiment({"name": f"There is a suite called {name!r} already; choose another name."}) from exc
    return made


def start(suite: Suite, *, actor: Any = None) -> None:
    """Workers carry it on: the next of its experiments starts as one ends. Those that were paused or failed go on."""
    with transaction.atomic():
        row = Suite.objects.select_for_update().get(pk=suite.pk)
        row.running = True
        row.save(update_fields=["running"])
        _recorded(row, "started", actor)
        for experiment in row.experiments.filter(state__in=[State.PAUSED, State.FAILED]):
            actions.resume(experiment, actor=actor)
    start_next(suite, settings.TRAINING_SLOTS)


def stop(suite: Suite, *, actor: Any = None) -> None:
    """Nothing new begins, and what runs is paused; a later start goes on from there."""
    with transaction.atomic():
        row = Suite.objects.select_for_update().get(pk=suite.pk)
        row.running = False
        row.save(update_fields=["running"])
        _recorded(row, "stopped", actor)
        for experiment in row.experiments.filter(state__in=Experiment.ACTIVE):
            actions.pause(experiment, actor=actor)


def start_next(suite: Suite, at_once: int) -> None:
    """Start experiments of a running suite until `at_once` of them are active. When nothing is left to start or to end, it runs no more."""
    with transaction.atomic():
        row = Suite.objects.select_for_update().get(pk=suite.pk)
        if not row.running:
            return
        active = row.experiments.filter(state__in=Experiment.ACTIVE).count()
        for one in planned(row):
            if active >= at_once:
                return
            active += _started(row, one)
        if not active:
            row.running = False
            row.save(update_fields=["running"])
            _recorded(row, "ended", None)


def _started(suite: Suite, one: Planned) -> bool:
    """Make and start it if that can be done now. What cannot be started is left failed with the reason, and does not hold up the others."""
    try:
        experiment = experiment_of(suite, one)
        if experiment is None or experiment.state != State.DRAFT:
            return False
        with transaction.atomic():
            actions.start(experiment)
    except InvalidExperiment as exc:
        log.warning("%s cannot be made: %s", one.name, exc)
        return False
    except ExperimentError as exc:
        Experiment.objects.filter(name=one.name).update(state=State.FAILED, note=getattr(exc, "note", str(exc)))
        return False
    return True


def experiment_of(suite: Suite, one: Planned) -> Experiment | None:
    """The experiment as a row, made where it is not yet. None while the arm whose proxy it starts with has none to give."""
    if found := suite.experiments.filter(arm=one.arm.name, base=one.base.name, seed=one.seed).first():
        return found
    proxy = None
    if one.arm.after and (proxy := _proxy_for(suite, one)) is None:
        return None
    with transaction.atomic():
        made = actions.create_experiment(
            name=one.name,
            title=f"{suite.title}: {one.arm.title}, base {one.base.name}, seed {one.seed}"[:160],
            owner=suite.owner,
            domain=suite.domain,
            expert=suite.expert,
            preset=one.arm.preset,
            changes=one.arm.plan,
            policy=one.base.path,
            seed=one.seed,
            proxy_version=proxy,
        )
        made.suite, made.arm, made.base = suite, one.arm.name, one.base.name
        made.save(update_fields=["suite", "arm", "base"])
    return made


def _proxy_for(suite: Suite, one: Planned) -> ProxyVersion | None:
    """The proxy version that it starts with, once the experiment that makes it is done."""
    made = ProxyVersion.objects.filter(
        experiment__suite=suite,
        experiment__arm=one.arm.after,
        experiment__base=one.base.name,
        experiment__seed=one.seed,
        experiment__state=State.DONE,
    )
    return made.order_by("-number").first() if one.arm.proxy == "last" else made.filter(number=one.arm.proxy).first()


def _identity(suite: Suite, errors: dict[str, str]) -> None:
    if not re.fullmatch(r"[-a-zA-Z0-9_]{1,40}", suite.name) or suite.name == "new":
        errors["name"] = "A name has 1 to 40 letters, digits, hyphens or underscores, and is not “new”."
    elif Suite.objects.filter(name=suite.name).exists():
        errors["name"] = f"There is a suite called {suite.name!r} already; choose another name."
    if len(suite.title) > 160:
        errors["title"] = "A title has at most 160 characters."


def _shape(arms: Sequence[Arm], seeds: Sequence[int], bases: Sequence[Base], ceiling: str, errors: dict[str, str]) -> None:
    names, once = [arm.name for arm in arms], [arm.name for arm in arms if not arm.main]
    every = [arm for arm in arms if arm.main]
    if not arms:
        errors["arms"] = "A suite needs at least 1 arm."
    elif len(set(names)) < len(names) or not all(re.fullmatch(r"[-a-zA-Z0-9_]{1,30}", name) for name in names):
        errors["arms"] = "Each arm needs a name of its own, of 1 to 30 letters, digits, hyphens or underscores."
    elif strangers := [arm.after for arm in arms if arm.after and arm.after not in names]:
        errors["arms"] = f"An arm starts with the proxy of {strangers[0]}, which is not in the suite: add that arm too."
    elif every and ceiling in once:
        errors["arms"] = "The ceiling has to be run with every seed on every base: each run is measured against the one of its own."
    elif early := [arm for arm in every if arm.after in once]:
        errors["arms"] = f"{early[0].title} is run with every seed, and starts with proxies of {early[0].after}, which is run once: run both alike."
    if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**31 for seed in seeds):
        errors["seeds"] = "Give at least 1 seed, each once: whole numbers from 0 to 2147483647."
    if not bases or len({base.name for base in bases}) < len(bases):
        errors["bases"] = "Give at least 1 base policy, each with a name of its own."


def _plans(suite: Suite, errors: dict[str, str]) -> None:
    """Settle each arm's plan, and see that every experiment could be made. Where a proxy is taken over, all of it is checked when that is there."""
    for one in planned(suite):
        wishes = Wishes(one.name, "", suite.domain, suite.expert, one.arm.preset, one.arm.changes, one.base.path, "", one.seed, None, suite.owner)
        try:
            check(wishes)
        except InvalidExperiment as exc:
            own = {"policy": "bases", "expert": "expert", "domain": "domain"}
            for field, message in exc.errors.items():
                if not one.arm.after or field in ("preset", "plan"):
                    errors.setdefault(own.get(field, "arms"), message if field in own else f"{one.arm.title}: {message}")
    if errors:
        return
    for arm in suite.config["arms"]:
        preset = EVERY[arm["preset"]].to_dict() if arm["preset"] else {}
        arm["plan"] = Plan.from_dict(preset | arm["changes"]).to_dict()
        if arm["name"] == suite.config["ceiling"] and arm["plan"]["protocol"] != "ceiling":
            errors["ceiling"] = f"{arm['title']} is no ceiling: its protocol is {arm['plan']['protocol']}."


def _recorded(suite: Suite, verb: str, actor: Any, **data: Any) -> None:
    AuditEntry.objects.create(actor=actor, verb=verb, target=f"suite:{suite.name}", data=data)
