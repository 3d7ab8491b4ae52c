"""The strong models that write prompts: grading prompts from an expert's feedback, and better prompts for the policy."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from annotation import experts
from annotation.models import Expert
from annotation.routing import rule_of
from training.models import Experiment

GRADING, GENERATION = "grading", "generation"  # what is written
WRITTEN = ("rubric", "per-prompt-rubric")  # protocols whose grading prompts somebody writes; few-shot prompts are put together


def of(experiment: Experiment) -> dict[str, Any]:
    """The language models that write for this experiment, by what they write: the expert's own where it is one, else those in settings.WRITERS.

    Empty where there is none: then people write, where that can be.
    """
    for expert in rule_of(experiment.expert).experts:
        if expert.kind == Expert.Kind.LLM and (model := experts.judge_config(expert)["options"].get("model")):
            return {GRADING: model, GENERATION: model}
        if expert.backend in settings.WRITERS:
            return dict(settings.WRITERS[expert.backend])
    return {}
