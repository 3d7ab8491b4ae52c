"""Asking an expert outside of experiments: about which texts, whether that can be, and what it costs."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from random import Random
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotation import costs, selection
from annotation.actions import select_batch
from annotation.actions.budgets import affordable
from annotation.actions.importing import IMPORTED, RUN
from annotation.errors import InvalidRequest, InvalidSelection
from annotation.models import AuditEntry, Batch, Domain, Expert, Item, Rollout
from annotation.routing import rule_of
from grading.models.base import derive_seed

MOST_TIMES = 20  # that a text is judged


def key_of(what: str, whose: str, sent: uuid.UUID | None = None) -> str:
    """The key of a batch: the same where the same form is sent twice."""
    return f"{what}/{whose}/{sent or uuid.uuid4()}"


def any_texts(expert: Expert, domain: Domain, count: int, times: int, seed: int) -> list[int]:
    """So many rollouts of the domain at random, to measure the expert's noise on. Raises `InvalidRequest`."""
    if expert.kind == Expert.Kind.MIXED:
        raise InvalidRequest({"domain": f"{expert.name} stands for several experts: measure each of those."})
    if not expert.active:
        raise InvalidRequest({"domain": f"{expert.name} is not active: nobody would answer."})
    there = Rollout.objects.filter(prompt__domain=domain).exclude(content="").order_by("pk").values_list("pk", flat=True)
    if (found := len(there)) < count:
        raise InvalidRequest({"texts": f"There are {found} texts in this domain, which is fewer than {count}."})
    _enough_people(expert, times)
    return selection.at_random(there, count, Random(seed))


def imported_rollouts(domain: Domain) -> QuerySet[Rollout]:
    """The rollouts of the domain that came from files. Which runs these are the log knows: looking through all rollouts would take long."""
    log = AuditEntry.objects.filter(target=f"domain:{domain.pk}", verb=IMPORTED).order_by()
    return Rollout.objects.filter(run__in=set(log.values_list("data__run", flat=True)), prompt__domain=domain)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an expert is to judge of an import: `texts` at random (None: all), `times` each; with `again` also those it was asked about before."""

    domain: Domain
    run: str
    expert: Expert
    texts: int | None = None
    times: int = 1
    again: bool = False

    def key(self, sent: uuid.UUID | None = None) -> str:
        return key_of("imported", self.domain.slug, sent)

    def rollouts(self, key: str) -> list[int]:
        """The rollouts' ids; what the batch of that `key` asks already is not held against it. Raises `InvalidRequest`."""
        left = imported_rollouts(self.domain).filter(run=self.run).exclude(content="")
        if not self.again:
            asked = Item.objects.filter(batch__expert=self.expert, rollout__run=self.run).exclude(state=Item.State.CANCELLED).exclude(batch__key=key)
            left = left.exclude(pk__in=asked.values("rollout"))
        found = list(left.order_by("pk").values_list("pk", flat=True))
        self._check(len(found))
        return selection.at_random(found, self.texts or len(found), Random(0))

    @property
    def name(self) -> str:
        """Where the texts come from, as it was said when they were imported."""
        return self.run.removeprefix(RUN)

    def ask(self, key: str, rollouts: list[int], *, note: str = "", actor: Any) -> Batch:
        """The batch of that key with these rollouts in it. Raises as `actions.select_batch` does."""
        return select_batch(
            key=key,
            title=f"{self.name}: {count_of(rollouts)}"[:200],
            domain=self.domain,
            expert=self.expert,
            purpose=Batch.Purpose.IMPORTED,
            rollouts=rollouts,
            reviewers=self.times,
            seed=derive_seed(key),  # asked again, a program or model draws anew
            note=note,
            actor=actor,
        )

    def _check(self, left: int) -> None:
        name = self.expert.name
        if not self.expert.active:
            raise InvalidRequest({"expert": f"{name} is not active: nobody would answer."})
        if not left and self.again:
            raise InvalidRequest({"run": "These texts are all empty."})
        if not left:
            raise InvalidRequest(
                {"again": f"{name} has been asked about all of these texts. Ask again only where you want more verdicts on the same texts."}
            )
        if self.texts and left < self.texts:
            which = "" if self.again else " that were not asked about"
            raise InvalidRequest({"texts": f"There are {left}{which}, which is fewer than {self.texts}. Without a number it is all of them."})
        if self.expert.kind == Expert.Kind.MIXED and self.times > 1:
            raise InvalidRequest({"times": f"{name} stands for several experts: its rule says how many verdicts a text gets. Leave it at 1."})
        _enough_people(self.expert, self.times)


def count_of(texts: list[int]) -> str:
    return f"{len(texts):,} text{'' if len(texts) == 1 else 's'}"


def estimate(expert: Expert, domain: Domain, texts: int) -> dict[str, Any]:
    """That of `costs.estimate` for so many texts (one that is judged twice counts twice).

    With the number of `verdicts`, and the experts for whom budgets have too little room as `short`. Raises `InvalidRequest` where the rule of an
    expert that stands for several makes no sense.
    """
    try:
        count = round(texts * rule_of(expert).verdicts_per_text)
    except InvalidSelection as exc:
        raise InvalidRequest({"expert": str(exc)}) from exc
    now, short = timezone.now(), []
    with transaction.atomic():
        for one, wanted in costs.shared_out(expert, count).items():
            room = affordable(one, "", wanted, costs.expected(one, domain, now).cost)
            if room < wanted:
                short.append({"expert": one, "wanted": wanted, "room": room})
    return costs.estimate(expert, domain, count, now) | {"verdicts": count, "short": short}


def _enough_people(expert: Expert, times: int) -> None:
    """Raises `InvalidRequest` where a panel has fewer members than each text is to have verdicts."""
    people = expert.members.filter(is_active=True).count()
    if expert.kind != Expert.Kind.HUMAN or people >= times:
        return
    if not people:
        raise InvalidRequest({"expert": f"{expert.name} has no members: nobody would answer. An admin can add some on its page."})
    raise InvalidRequest(
        {"times": f"Each verdict on a text comes from somebody else, and the panel has {people}: ask for at most {people}, or add members."}
    )
