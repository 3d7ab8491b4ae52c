"""A small world to experiment in: pocket prompts, the program that judges them, people, and the toy engine (tests/training/toy)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from annotation.actions import import_prompts
from annotation.models import Domain, Expert
from tests.training import toy
from training import actions, drive, follow, protocol
from training.models import Experiment
from training.pocket.language import prompts
from training.pocket.prompts import DOMAIN

# Small enough to follow by hand: a look is 3 prompts x 2 rollouts, an RL step 2 x 2.
SMALL = {"eval_prompts": 3, "eval_rollouts": 2, "per_prompt": 4, "prompts_per_step": 2, "group": 2, "save_every": 2, "steps": 4, "segment": 2}
LESSONS = {"initial": 8, "update": 4, "replay": 4, "epochs": 2, "update_epochs": 1}
PROMPTED = {"initial": 8, "update": 4, "shown": 3, "search": 3, "keep": 2, "validation_prompts": 2, "validation_rollouts": 3, "check": 4}
SINGLE = {"per_task": 1, "realignments": 1}
OF_PROTOCOL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(protocol.FINE_TUNED, LESSONS),
    **dict.fromkeys(protocol.IN_CONTEXT, PROMPTED),
    **dict.fromkeys(protocol.PER_PROMPT, SINGLE),
    "prompt-optimisation": {"calls": 12, "validation_prompts": 2, "steps": 1, "segment": 1},
}


@pytest.fixture(autouse=True)
def toy_engine(settings, monkeypatch) -> None:
    settings.TRAINING_ENGINE = "tests.training.toy"
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(drive, "IDLE_SECONDS", 0.02)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model folder for the toy engine."""
    toy.save_model(tmp_path / "model", skill=0)
    return str(tmp_path / "model")


@pytest.fixture
def rosa(db) -> User:
    return User.objects.create_user("rosa", password="x")


@pytest.fixture
def otto(db) -> User:
    """The outsider."""
    return User.objects.create_user("otto", password="x")


@pytest.fixture
def domain(db) -> Domain:
    fields = {name: getattr(DOMAIN, name) for name in DOMAIN.__dataclass_fields__}
    domain = Domain.objects.create(**fields)
    for split, count in (("train", 12), ("eval", 5)):
        chosen = [prompt for prompt in prompts() if prompt.split == split][:count]
        import_prompts(domain, split, [{"variables": {"OBJECT": p.object, "PLACE": p.place}} for p in chosen], actor=None)
    return domain


@pytest.fixture
def critic(db) -> Expert:
    return Expert.objects.create(alias="critic", name="The critic", kind=Expert.Kind.PROGRAM, backend="pocket")


@pytest.fixture
def panel(rosa: User) -> Expert:
    panel = Expert.objects.create(alias="panel", name="The panel", kind=Expert.Kind.HUMAN)
    panel.members.add(rosa)
    return panel


Make = Callable[..., Experiment]


@pytest.fixture
def make(rosa: User, domain: Domain, critic: Expert, model: str) -> Make:
    """Makes an experiment, not started: make("full-trace", steps=2, expert=...)."""

    def make(
        method: str = "full-trace",
        *,
        name: str = "stories",
        expert: Expert = critic,
        budget: int | None = None,
        seed: int = 1,
        proxy_version: Any = None,
        **changes: Any,
    ) -> Experiment:
        plan = SMALL | OF_PROTOCOL.get(method, {}) | changes
        return actions.create_experiment(
            name=name,
            owner=rosa,
            domain=domain,
            expert=expert,
            changes={"protocol": method, **plan},
            policy=model,
            sample_budget=budget,
            proxy_version=proxy_version,
            seed=seed,
        )

    return make


@pytest.fixture
def run(make: Make) -> Make:
    """Makes one, starts it and runs it to its end in this process."""

    def run(*args: Any, **kwargs: Any) -> Experiment:
        return drive.drive(actions.start(make(*args, **kwargs)).pk)

    return run
