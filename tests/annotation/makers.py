"""Small worlds for these tests: a domain with rollouts, panels of people, programs that judge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.utils import timezone

from annotation import actions
from annotation.models import Batch, Claim, Domain, Expert, Feedback, Item, Prompt, Rollout, digest_of
from grading.errors import GraderError, GraderRefused, Retry
from grading.types import Case, Verdict

WORDS = "The turn comes from nowhere."


def make_domain(slug: str = "stories", **fields: Any) -> Domain:
    defaults = {"name": slug.title(), "generation_prompt": "Write about {TOPIC}.", "grading_prompt": "Judge {CONTENT}."}
    return Domain.objects.create(slug=slug, **defaults | fields)


def make_rollouts(domain: Domain, count: int, *, run: str = "exp/sample-0", group: int = 1, step: int = 0) -> list[int]:
    """`count` rollouts in groups of `group`; their ids in order."""
    texts = [f"Write about {run} {step} {i}." for i in range(-(-count // group))]
    prompts = Prompt.objects.bulk_create(
        Prompt(domain=domain, split="train", variables={"TOPIC": text}, text=text, digest=digest_of(text)) for text in texts
    )
    rows = Rollout.objects.bulk_create(
        Rollout(prompt=prompts[i // group], run=run, step=step, index=i % group, completion=f"Story {i}.", content=f"Story {i}.")
        for i in range(count)
    )
    return [row.pk for row in rows]


def make_user(name: str, **fields: Any) -> User:
    return User.objects.create_user(name, password="-", **fields)


def make_panel(*members: User, alias: str = "panel") -> Expert:
    expert = Expert.objects.create(alias=alias, name=alias.title(), kind=Expert.Kind.HUMAN)
    expert.members.set(members)
    return expert


def make_program(alias: str = "program", backend: str = "fair", **fields: Any) -> Expert:
    """An expert that is a program; its backend must be in settings.EXPERTS (see the fixture `experts`)."""
    return Expert.objects.create(alias=alias, name=alias.title(), kind=fields.pop("kind", Expert.Kind.PROGRAM), backend=backend, **fields)


def make_claude(backend: str = "claude") -> Expert:
    """An expert that is a language model; its backend must be in settings.EXPERTS (see `tests.annotation.claude.entry`)."""
    return make_program(backend, backend=backend, kind=Expert.Kind.LLM)


def make_batch(expert: Expert, domain: Domain, rollouts: Sequence[int] | int = 1, *, key: str = "", **options: Any) -> Batch:
    if isinstance(rollouts, int):
        rollouts = make_rollouts(domain, rollouts, run=f"run {uuid4()}")
    options = {"title": "A batch", "purpose": Batch.Purpose.UPDATE} | options
    return actions.select_batch(key=key or str(uuid4()), domain=domain, expert=expert, rollouts=rollouts, **options)


def claim_one(user: User, **options: Any) -> Claim:
    (claim,) = actions.claim_next(user=user, **options)
    return claim


def submit(claim: Claim, *, user: Any = None, key: str = "", critique: str = WORDS, score: Any = 50, **fields: Any) -> Feedback:
    return actions.submit_feedback(claim.token, key=key or f"key-{claim.token}", user=user, critique=critique, score=score, **fields)


def expire(claim: Claim) -> None:
    """Let the lease run out, and be noticed."""
    Claim.objects.filter(pk=claim.pk).update(expires=timezone.now())
    assert actions.expire_claims() >= 1


def states(batch: Batch) -> list[str]:
    return list(Item.objects.filter(batch=batch).order_by("position").values_list("state", flat=True))


def scores(rows: Iterable[Feedback]) -> list[float | None]:
    return [row.score for row in rows]


class FairJudge:
    """A program that judges: the score is the number of characters."""

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        return [Verdict(float(len(case.content)), critique=f"It has {len(case.content)} characters.") for case in cases]


class DicingJudge:
    """Samples a chunk at a time, as a language model does: the score is chance, and the same with the same seed."""

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        random = Random(seed)
        return [Verdict(float(random.randrange(101)), critique="Diced.") for _ in cases]


class OverloadedJudge:
    """Out of reach for now."""

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        raise GraderError("the model is overloaded", retry=Retry.after(30))


class BrokenOffJudge(FairJudge):
    """Is cut off after two verdicts, and has those."""

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        if len(cases) < 3:
            return await super().grade(cases, seed=seed)
        had = await super().grade(cases[:2], seed=seed)
        raise GraderError("the connection was dropped", retry=Retry.after(0), partial=[*had, *[None] * (len(cases) - 2)])


class LockedOutJudge:
    """Out of reach until somebody mends the set-up."""

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        raise GraderError("the key is not valid", retry=Retry.never())


class SqueamishJudge(FairJudge):
    """Declines whatever ends in 3."""

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        if any(case.content.endswith("3.") for case in cases):
            raise GraderRefused("not this one")
        return await super().grade(cases, seed=seed)


class MumblingJudge:
    """Writes words without a score, words out of range, or nothing."""

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        kinds = [Verdict.unscored("no score found", raw="hm", critique="Hm."), Verdict(1000.0, critique="Great!"), Verdict(50.0)]
        return [kinds[i % 3] for i in range(len(cases))]


class ShortJudge(FairJudge):
    """Loses the last verdict."""

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        return (await super().grade(cases, seed=seed))[:-1]
