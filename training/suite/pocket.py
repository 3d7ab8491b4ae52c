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
# The same RL for every arm whose reward is a proxy, so that all are pressed equally hard; the ceiling, which nobody can over-optimise, has a rate of
# its own. Each is the best after these steps on seeds 101 and 102, which are not reported (bench/RESULTS.md).
RL = {"steps": 120, "learning_rate": 6e-4}
CEILING_RL = {**RL, "learning_rate": 2e-3}


def _arm(name: str, title: str, *, preset: str = "", main: bool = True, after: str = "", rl: dict[str, Any] = RL, **changes: Any) -> Arm:
    return Arm(name, title, f"pocket-{preset or name}", {**rl, **changes}, main=main, after=after)


MAIN = [
    _arm("ceiling", "Ceiling", rl=CEILING_RL, segment=30),
    _arm("weak-proxy", "Weak proxy"),
    _arm("full-trace", "Full-trace distillation", segment=30, initial=384, update=128),
    _arm("full-trace-small", "Full-trace, fewer samples"),
    _arm("context-feedback", "Context, feedback only"),
    _arm("scalar-head", "Scalar head"),
    _arm("rubric", "Rubric"),
]
ONCE = [
    _arm("ceiling-same-rate", "Ceiling at the others' rate", preset="ceiling", main=False, segment=30),
    _arm("context-full", "Context, all of the trace", main=False),
    _arm("few-shot", "Few-shot", main=False),
    _arm("few-shot-prefilled", "Few-shot, prefilled", main=False),
    _arm("per-prompt-rubric", "Per-prompt rubric", main=False),
    _arm("per-prompt-few-shot", "Per-prompt few-shot", main=False),
    _arm("prompt-optimisation", "Prompt optimisation", main=False, rl={}),
    _arm("retrain", "From scratch with the last proxy", main=False, after="full-trace"),
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
