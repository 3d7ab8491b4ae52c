"""Which experiments a suite consists of, and in which order they are run. Reads the suite's config alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from training.models import Suite


@dataclass(frozen=True, slots=True)
class Arm:
    """One method of the suite. A main arm is run with every seed on every base, the others once, with the first of each.

    An arm that starts with the proxy of another (`after`) takes that arm's version `proxy`, or its last one, of the same base and seed. `plan` is
    the preset with its changes as it was when the suite was made, so that all runs of an arm have the same.
    """

    name: str
    title: str
    preset: str
    changes: dict[str, Any] = field(default_factory=dict)
    main: bool = True
    after: str = ""
    proxy: int | str = "last"
    plan: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Base:
    """A base policy: its name in the suite, and its model folder."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Planned:
    """One experiment of the suite, made already or not."""

    name: str
    arm: Arm
    base: Base
    seed: int


def arms(suite: Suite) -> list[Arm]:
    """The ceiling first, the others as they were given."""
    found = [Arm(**arm) for arm in suite.config["arms"]]
    return sorted(found, key=lambda arm: arm.name != suite.config["ceiling"])


def bases(suite: Suite) -> list[Base]:
    return [Base(**base) for base in suite.config["bases"]]


def planned(suite: Suite, only_arms: Collection[str] = (), only_seeds: Collection[int] = ()) -> list[Planned]:
    """The experiments in the order in which they are run: seed by seed, so that comparisons are complete early; arms that are run once come last.

    `only_arms` and `only_seeds` choose among them; empty: all.
    """
    seeds, on = suite.config["seeds"], bases(suite)
    main = [(arm, base, seed) for seed in seeds for base in on for arm in arms(suite) if arm.main]
    once = [(arm, on[0], seeds[0]) for arm in arms(suite) if not arm.main]
    return [
        Planned(f"{suite.name}-{arm.name}-b{base.name}-s{seed}", arm, base, seed)
        for arm, base, seed in main + once
        if (not only_arms or arm.name in only_arms) and (not only_seeds or seed in only_seeds)
    ]
