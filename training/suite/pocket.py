"""The suite of the pocket stories: every method side by side, in miniature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings

from annotation.models import Domain, Expert
from training.models import Suite
from training.suite.actions import create_suite
from training.suite.plan import Arm, Base

SEEDS = (1, 2, 3)
QUICK_SEEDS = (1,)
STEPS = 120  # of every arm, so that all are pressed equally hard
MAIN = [
    Arm("ceiling", "Ceiling", "pocket-ceiling", {"steps": STEPS, "segment": 30}),
    Arm("weak-proxy", "Weak proxy", "pocket-weak-proxy", {"steps": STEPS}),
    Arm("full-trace", "Full-trace distillation", "pocket-full-trace", {"steps": STEPS, "segment": 30, "initial": 384, "update": 128}),
    Arm("full-trace-small", "Full-trace, fewer samples", "pocket-full-trace-small"),
    Arm("context-feedback", "Context, feedback only", "pocket-context-feedback"),
    Arm("scalar-head", "Scalar head", "pocket-scalar-head"),
    Arm("rubric", "Rubric", "pocket-rubric"),
]
ONCE = [
    Arm("context-full", "Context, all of the trace", "pocket-context-full", main=False),
    Arm("few-shot", "Few-shot", "pocket-few-shot", main=False),
    Arm("few-shot-prefilled", "Few-shot, prefilled", "pocket-few-shot-prefilled", main=False),
    Arm("per-prompt-rubric", "Per-prompt rubric", "pocket-per-prompt-rubric", main=False),
    Arm("per-prompt-few-shot", "Per-prompt few-shot", "pocket-per-prompt-few-shot", main=False),
    Arm("prompt-optimisation", "Prompt optimisation", "pocket-prompt-optimisation", main=False),
    Arm("retrain", "From scratch with the last proxy", "pocket-retrain", main=False, after="full-trace"),
]


def bases() -> list[Base]:
    """The two base policies that come with Touchstone, trained with different seeds."""
    folder = settings.POCKET_BASE
    return [Base("1", str(folder)), Base("2", str(folder.with_name(f"{folder.name}-2")))]


def create_pocket_suite(name: str, *, owner: Any, domain: Domain, expert: Expert, quick: bool = False, seeds: Sequence[int] = ()) -> Suite:
    """The suite, not started. `quick` leaves the main arms, one seed and one base. Raises `InvalidExperiment`."""
    return create_suite(
        name=name,
        title="Pocket sandwich, quick" if quick else "Pocket sandwich",
        owner=owner,
        domain=domain,
        expert=expert,
        arms=MAIN if quick else [*MAIN, *ONCE],
        seeds=seeds or (QUICK_SEEDS if quick else SEEDS),
        bases=bases()[:1] if quick else bases(),
    )
