"""Do wishes make an experiment? Every field that is wrong gets its own sentence."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from math import ceil
from pathlib import Path
from typing import Any

from django.conf import settings

from annotation import querysets
from annotation.actions.batches import MOST_CONTROLS
from annotation.errors import InvalidSelection
from annotation.models import Domain, Expert, Prompt
from annotation.routing import rule_of
from grading.control import FEWEST
from training import protocol, writers
from training.errors import InvalidExperiment
from training.models import Experiment, ProxyVersion
from training.paper import EVERY
from training.plan_words import CHOICES
from training.presets import STRATEGIES, Plan

POSITIVE = [
    "steps",
    "segment",
    "per_prompt",
    "proxy_n",
    "proxy_max_tokens",
    "variance_grades",
    "prompts_per_step",
    "learning_rate",
    "policy_max_tokens",
]
POSITIVE += ["save_every", "epochs", "update_epochs", "distil_learning_rate", "distil_batch", "traces_per_text", "tries_per_text"]
POSITIVE += ["per_task", "shown", "search", "keep", "validation_rollouts", "realignments"]
TYPES = {field.name: field.type for field in fields(Plan)}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person filled in."""

    name: str
    title: str
    domain: Domain | None
    expert: Expert | None
    preset: str
    changes: dict[str, Any]
    policy: str
    proxy: str
    seed: int
    sample_budget: int | None
    owner: Any = None
    proxy_version: ProxyVersion | None = None


def check(wishes: Wishes) -> tuple[Plan, dict[str, Any]]:
    """The plan, and the values of the experiment's own fields. Raises `InvalidExperiment` with all that is wrong."""
    errors: dict[str, str] = {}
    plan = _plan(wishes, errors)
    policy = wishes.policy or str(settings.POCKET_BASE)
    _identity(wishes, errors)
    _model("policy", policy, errors)
    if wishes.proxy:
        _model("proxy", wishes.proxy, errors)
    if plan is not None:
        _expert(wishes.expert, wishes.owner, plan, errors)
        _writer(wishes.expert, plan, errors)
        _prompts(wishes.domain, plan, errors)
        _taken_over(wishes, plan, errors)
    budget = _budget(wishes, plan, errors)
    if errors or plan is None:
        raise InvalidExperiment(errors)
    title = wishes.title.strip() or wishes.name
    return plan, {
        "domain": wishes.domain,
        "expert": wishes.expert,
        "name": wishes.name,
        "title": title,
        "policy": policy,
        "proxy": wishes.proxy,
        "proxy_version": wishes.proxy_version,
        "seed": wishes.seed,
        "sample_budget": budget,
    }


def check_change(experiment: Experiment, plan: Plan, actor: Any) -> dict[str, str]:
    """What is wrong, by field, with an experiment's expert, strategy and budget as they are to be."""
    errors: dict[str, str] = {}
    _expert(experiment.expert, actor, plan, errors)
    if experiment.started is None:  # else who writes is fixed
        _writer(experiment.expert, plan, errors)
    if plan.strategy not in dict(STRATEGIES):
        errors["strategy"] = f"There is no selection strategy {plan.strategy!r}; there are {', '.join(dict(STRATEGIES))}."
    elif plan.strategy == "max-variance" and plan.variance_grades < 2:
        errors["strategy"] = "The spread of a proxy's grades needs at least 2 of them, and this plan has fewer."
    if experiment.sample_budget < 1:
        errors["sample_budget"] = "A budget asks for at least 1 verdict. To ask for nothing more, pause or stop the experiment."
    return errors


def _identity(wishes: Wishes, errors: dict[str, str]) -> None:
    if not re.fullmatch(r"[-a-zA-Z0-9_]{1,80}", wishes.name):
        errors["name"] = "A name has 1 to 80 letters, digits, hyphens or underscores, and no spaces."
    elif Experiment.objects.filter(name=wishes.name).exists():
        errors["name"] = f"There is an experiment called {wishes.name!r} already; choose another name."
    if len(wishes.title) > 160:
        errors["title"] = "A title has at most 160 characters."
    if not 0 <= wishes.seed < 2**31:
        errors["seed"] = "A seed is a whole number from 0 to 2147483647."


def _plan(wishes: Wishes, errors: dict[str, str]) -> Plan | None:
    """None where there is not enough of a plan to check anything against."""
    if wishes.preset and wishes.preset not in EVERY:
        errors["preset"] = f"There is no preset {wishes.preset!r}; there are {', '.join(EVERY)}."
        return None
    base = EVERY[wishes.preset].to_dict() if wishes.preset else {}
    try:
        plan = Plan.from_dict(base | wishes.changes)
    except ValueError as exc:
        errors["preset" if "lacks" in str(exc) else "plan"] = f"{str(exc)[0].upper()}{str(exc)[1:]}."
        return None
    before = len(errors)
    _numbers(plan, errors)
    if plan.protocol not in protocol.PROTOCOLS:
        errors["protocol"] = f"There is no protocol {plan.protocol!r}; there are {', '.join(protocol.PROTOCOLS)}."
    if plan.strategy not in dict(STRATEGIES):
        errors["strategy"] = f"There is no selection strategy {plan.strategy!r}; there are {', '.join(dict(STRATEGIES))}."
    return plan if len(errors) == before else None


def _numbers(plan: Plan, errors: dict[str, str]) -> None:
    """Every number on its own; how they go together once each of them makes sense."""
    for name, kind in TYPES.items():
        value = getattr(plan, name)
        if kind in ("int", "float") and (problem := _number(name, value, kind)):
            errors[name] = problem
        if kind == "bool" and not isinstance(value, bool):
            errors[name] = f"This must be true or false, not {value!r}."
    for name in ("fall_in", "after_fall"):
        if (value := getattr(plan, name)) not in dict(CHOICES[name]):
            errors[name] = f"This is one of {', '.join(dict(CHOICES[name]))}, not {value!r}."
    if not errors:
        errors |= {field: message for field, (wrong, message) in _together(plan).items() if wrong}


def _number(name: str, value: Any, kind: Any) -> str:
    whole = kind == "int"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return f"This must be a {'whole ' if whole else ''}number, not {value!r}."
    if value <= 0 and name in POSITIVE:
        return f"This must be more than 0, not {value}."
    return f"This cannot be negative, as {value} is." if value < 0 else ""


def _together(plan: Plan) -> dict[str, tuple[bool, str]]:
    variance, asks_itself = plan.strategy == "max-variance", plan.protocol in (*protocol.FINE_TUNED, *protocol.IN_CONTEXT)
    prompts = plan.protocol in protocol.IN_CONTEXT
    return {
        "group": (plan.group < 2, "A group needs at least 2 rollouts of a prompt: advantages are differences within it."),
        "repeat_share": (not plan.repeat_share <= MOST_CONTROLS, f"This is a share, from 0 to {MOST_CONTROLS:g}."),
        "gold_share": (not plan.gold_share <= MOST_CONTROLS, f"This is a share, from 0 to {MOST_CONTROLS:g}."),
        "unscored_limit": (plan.unscored_limit > 1, "This is a share, from 0 to 1."),
        "collapse": (plan.collapse > 1, "This is a share, from 0 to 1."),
        "initial": (asks_itself and plan.initial == 0, "This needs at least 1 expert sample before the first RL step."),
        "update": (prompts and plan.update == 0, "Realigning after a fall needs at least 1 fresh expert sample."),
        "eval_prompts": (
            plan.protocol == "weak-proxy" and plan.evaluation == 0,
            "The weak proxy is checked on eval prompts, so it needs at least 1 prompt with 1 rollout.",
        ),
        "variance_grades": (variance and plan.variance_grades < 2, "The spread of a proxy's grades needs at least 2 of them."),
        "keep": (plan.keep > plan.search, f"{plan.keep} prompts cannot be kept of {plan.search} that are tried."),
        "validation_prompts": (
            (prompts and plan.search > 1 and not plan.validation_prompts) or (plan.protocol == "prompt-optimisation" and not plan.validation_prompts),
            "To choose among prompts they have to be tried on validation prompts: give at least 1.",
        ),
        "check": (prompts and plan.check == 1, "A check needs at least 2 samples, or 0 for none: a single score says nothing about a fall."),
        "check_graded": (
            plan.check_graded > 0 and (plan.check < FEWEST or plan.check_graded < plan.check),
            f"The proxy has to grade at least the {plan.check} that the expert judges, or 0 for those."
            if plan.check >= FEWEST
            else f"Beside fewer than {FEWEST} verdicts at a check ({plan.check}) the proxy's grades tell nothing: give more verdicts, or 0 here.",
        ),
        "traces_per_text": (plan.traces_per_text > plan.tries_per_text, f"{plan.traces_per_text} traces cannot be kept of {plan.tries_per_text}."),
        "calls": (plan.protocol == "prompt-optimisation" and plan.calls == 0, "Optimising a prompt needs at least 1 expert sample."),
    }


def _taken_over(wishes: Wishes, plan: Plan, errors: dict[str, str]) -> None:
    version = wishes.proxy_version
    if plan.protocol == "retrain" and version is None:
        errors["proxy_version"] = "Choose the proxy version of another experiment that RL is to start on."
    elif version is not None and wishes.domain is not None and version.experiment.domain_id != wishes.domain.pk:
        errors["proxy_version"] = f"That proxy grades {version.experiment.domain.name}, not {wishes.domain.name}; choose one of this domain."


def _expert(expert: Expert | None, owner: Any, plan: Plan, errors: dict[str, str]) -> None:
    if expert is None:
        errors["expert"] = "Choose who gives the ground truth."
        return
    try:
        experts = rule_of(expert).experts
    except InvalidSelection as exc:
        errors["expert"] = f"The rule of {expert.name} does not work: {exc}"
        return
    if not expert.active:
        errors["expert"] = f"{expert.name} is not active any more; choose another expert, or have an admin activate it."
    elif not querysets.usable_by(owner).filter(pk=expert.pk).exists():
        errors["expert"] = f"You may not use {expert.name}; choose another expert, or ask an admin."
    elif plan.protocol in ("ceiling", "prompt-optimisation") and expert.kind not in Expert.ALONE:
        method = dict(protocol.CHOICES)[plan.protocol].partition(":")[0].capitalize()
        errors["expert"] = f"{method} needs an expert that answers by itself: a language model or a program, not people."
    for one in experts:
        if one.kind == Expert.Kind.HUMAN and not one.members.exists():
            errors["expert"] = f"Nobody is a member of {one.name}, so nobody would ever answer; have an admin add people to it."
        elif one.kind in Expert.ALONE and one.backend not in settings.EXPERTS:
            errors["expert"] = f"{one.name} uses the backend {one.backend!r}, which is not among settings.EXPERTS."


def _writer(expert: Expert | None, plan: Plan, errors: dict[str, str]) -> None:
    needed = writers.NEEDED.get(plan.protocol)
    if needed and expert is not None and "expert" not in errors and needed not in writers.of(expert):
        method = dict(protocol.CHOICES)[plan.protocol].partition(",")[0].capitalize()
        errors["expert"] = (
            f"{method} needs a language model that writes its prompts, and {expert.name} comes with none. Choose a language model as the expert, "
            "or have one named for it in settings.WRITERS."
        )


def _prompts(domain: Domain | None, plan: Plan, errors: dict[str, str]) -> None:
    if domain is None:
        errors["domain"] = "Choose a domain."
        return
    train = Prompt.objects.filter(domain=domain, split=Prompt.Split.TRAIN).count() - plan.validation_prompts
    evaluation = Prompt.objects.filter(domain=domain, split=Prompt.Split.EVAL).count()
    pool = -(-max(plan.pool, plan.initial, plan.update) // plan.per_prompt)
    if evaluation < plan.eval_prompts and plan.evaluation:
        errors["eval_prompts"] = f"{plan.eval_prompts} eval prompts are asked for, and {domain.name} has {evaluation}. Import more, or ask for fewer."
    if train < plan.prompts_per_step and plan.validation_prompts:
        errors["validation_prompts"] = f"Only {max(0, train)} train prompts would be left for RL. Import more, or keep fewer out."
    elif train < plan.prompts_per_step:
        errors["prompts_per_step"] = f"A step uses {plan.prompts_per_step} train prompts, and {domain.name} has {train}. Import more, or use fewer."
    elif plan.protocol in (*protocol.FINE_TUNED, *protocol.IN_CONTEXT) and train < pool:
        errors["per_prompt"] = (
            f"The pool would take {pool} train prompts, and {domain.name} has {train}. Take more rollouts of each, or a smaller pool."
        )


def _model(field: str, path: str, errors: dict[str, str]) -> None:
    """A folder for from_pretrained: a config.json that says what it is, and weights."""
    folder = Path(path)
    if not folder.is_dir():
        errors[field] = f"There is no folder {path}. Give the path of a model folder, such as one made by save_pretrained."
    elif not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        errors[field] = f"{path} is no model folder: it needs a config.json and *.safetensors."
    else:
        try:
            json.loads((folder / "config.json").read_text())
        except (OSError, ValueError) as exc:
            errors[field] = f"{path}/config.json cannot be read: {exc}."


def _budget(wishes: Wishes, plan: Plan | None, errors: dict[str, str]) -> int:
    budget = wishes.sample_budget
    if budget is not None and budget <= 0:
        errors["sample_budget"] = f"A budget of {budget} asks the expert nothing; give at least 1."
        return 0
    if plan is None:
        return budget or 0
    times = 1.0 if "expert" in errors or wishes.expert is None else rule_of(wishes.expert).verdicts_per_text
    tasks = 0 if wishes.domain is None else Prompt.objects.filter(domain=wishes.domain, split=Prompt.Split.TRAIN).count()
    least, all_of_it = ceil(protocol.least(plan, tasks) * times), ceil(sum(protocol.estimate(plan, tasks).values()) * times)
    if budget is not None and budget < least:
        errors["sample_budget"] = f"{budget} expert samples are too few: up to the look after its first RL step, this plan needs {least}."
    # A plan that never asks anybody (no eval prompts) still has a budget, as the row must.
    return all_of_it or 1 if budget is None else budget
