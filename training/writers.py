"""The strong models that write prompts: grading prompts from an expert's feedback, and better prompts for the policy."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from annotation import experts
from annotation.models import Expert
from annotation.routing import rule_of
from training import asking
from training.models import Experiment, Job, Stage

GRADING, GENERATION = "grading", "generation"  # what is written
WRITTEN = ("rubric", "per-prompt-rubric", "prompt-optimisation")  # protocols for which somebody writes
BATCHED = ("batch", "max_wait")  # options of a model that is asked in batches (grading.models.anthropic)
NEEDED = {"per-prompt-rubric": GRADING, "prompt-optimisation": GENERATION}  # protocols that ask for more prompts than a person would write


def of(asked: Expert) -> dict[str, Any]:
    """The language models that write where `asked` is the expert, by what they write: the expert's own where it is one, else those in
    settings.WRITERS.

    Empty where there is none: then people write, where that can be. Who judges in batches writes at once all the same: a search needs a few
    answers, and each would wait for a batch of its own.
    """
    for expert in rule_of(asked).experts:
        if expert.kind == Expert.Kind.LLM and (model := experts.judge_config(expert)["options"].get("model")):
            at_once = model | {"options": {name: value for name, value in model.get("options", {}).items() if name not in BATCHED}}
            return {GRADING: at_once, GENERATION: at_once}
        if expert.backend in settings.WRITERS:
            return dict(settings.WRITERS[expert.backend])
    return {}


def frozen(experiment: Experiment) -> dict[str, Any]:
    """Those that write for this experiment, as its jobs are told. Raises `StageFailed` where a job's folder would show a secret."""
    return asking.fit_for_a_folder(of(experiment.expert), experiment.expert) if experiment.plan.protocol in WRITTEN else {}


def awaited(experiment: Experiment) -> Stage | None:
    """The search that waits for a person to write a grading prompt: no model writes, and nobody has written or what they wrote could not be used."""
    if experiment.plan.protocol != "rubric" or GRADING in experiment.config.get("writers", {}):
        return None
    row = experiment.stages.filter(kind="search", ended=None).select_related("job").first()
    if row is None:
        return None
    waits = not row.arguments.get("written") if row.job is None else row.job.state == Job.State.FAILED
    return row if waits else None
