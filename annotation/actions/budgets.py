"""Limits on what verdicts may cost.

A reservation is an open claim: what it holds (one verdict, and the most that it can cost) is given back when it ends, however it ends. A claim is
made only where all hard budgets have room for it besides what is spent and held, and a verdict is charged in the transaction that stores it.
So hard budgets are never overspent, but for two things that nobody can know before: how long a person takes, and what a program spent that was
stopped for longer than its lease and then went on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet, Sum
from django.utils import timezone

from annotation import costs, querysets
from annotation.actions import audit
from annotation.costs import Cost
from annotation.errors import InvalidBudget
from annotation.models import Batch, Budget, Claim, Expert, Item

Unit = Budget.Unit
Most = Callable[[Claim], Cost | None]
# What open claims, and the jobs that fill reward batches, hold by unit.
OF_CLAIMS = {"samples": Count("pk"), "money": Sum("held_money"), "tokens": Sum("held_tokens"), "minutes": Sum("held_minutes")}
OF_JOBS = {"samples": Sum("held"), "money": Sum(F("held") * F("held_money")), "tokens": Sum(F("held") * F("held_tokens"))}


# Holding -----------------------------------------------------------------------------------------------------------------------


def hold(claims: Sequence[Claim], most: Most | None = None) -> list[Claim]:
    """Those of `claims`, made in this transaction for one expert and batch, that the hard budgets have room for; the others are unmade.

    A budget with nothing reserved and no room for the first of them is short: `end_exhausted` ends what it limits.

    `most` says what a claim can cost at most; without it, or where it does not know, a claim holds what the expert's verdicts cost as a rule.
    """
    related = Claim.objects.filter(pk__in=[claim.pk for claim in claims]).order_by("item__position")
    made = list(related.select_related("item__batch__domain", "item__batch__expert", "item__expert", "item__rollout__prompt"))
    item, user = made[0].item, made[0].user_id
    limits = _locked(item.expert_id, item.batch.experiment, user)
    needs = _needs(made, most) if any(budget.unit != Unit.SAMPLES for budget in limits) else [Cost()] * len(made)
    kept = len(made)
    for budget in limits:
        reserved = held(budget, but=made)
        left = budget.limit - budget.spent - reserved
        for i, need in enumerate(needs[:kept]):
            left -= amount(need, budget.unit)
            if left < 0:
                kept = i
                if not reserved and i == 0:
                    Budget.objects.filter(pk=budget.pk).update(short=timezone.now())
                break
    for claim, need in zip(made[:kept], needs, strict=False):
        claim.held_money, claim.held_tokens, claim.held_minutes = need.money, Decimal(need.tokens), need.minutes
    if any(need != Cost() for need in needs[:kept]):
        Claim.objects.bulk_update(made[:kept], ["held_money", "held_tokens", "held_minutes"])
    if unmade := made[kept:]:
        Item.objects.filter(pk__in=[claim.item_id for claim in unmade]).update(state=Item.State.READY)
        Claim.objects.filter(pk__in=[claim.pk for claim in unmade]).delete()
    return made[:kept]


def affords(claim: Claim) -> bool:
    """Whether the hard budgets have room for a claim that has ended and is taken up again. They are locked until the transaction ends."""
    item = claim.item
    expert, batch = Expert.objects.get(pk=item.expert_id), Batch.objects.select_related("domain").get(pk=item.batch_id)
    limits = _locked(item.expert_id, batch.experiment, claim.user_id)
    if not limits:
        return True
    need = costs.expected(expert, batch.domain, timezone.now()).cost
    return all(budget.limit - budget.spent - held(budget, but=[claim]) >= amount(need, budget.unit) for budget in limits)


def amount(cost: Cost, unit: str) -> Decimal:
    """What one verdict of that cost takes of a budget in `unit`."""
    return {Unit.SAMPLES: Decimal(1), Unit.MONEY: cost.money, Unit.TOKENS: Decimal(cost.tokens), Unit.MINUTES: cost.minutes}[Unit(unit)]


def _needs(claims: Sequence[Claim], most: Most | None) -> list[Cost]:
    usual: Cost | None = None
    needs = []
    for claim in claims:
        need = most(claim) if most is not None else None
        if need is None:
            usual = usual or costs.expected(claim.item.expert, claim.item.batch.domain, timezone.now()).cost
            need = usual
        needs.append(need)
    return needs


def _locked(expert: int, experiment: str, user: int | None) -> list[Budget]:
    """The hard budgets that limit what `user` does for an expert and an experiment, locked in the order of their ids."""
    limiting = Budget.objects.filter(querysets.limiting(expert, experiment, user), hard=True)
    return list(limiting.order_by("pk").select_for_update(no_key=True))


def held(budget: Budget, but: Sequence[Claim] = ()) -> Decimal:
    """What is reserved of it just now: what open claims, other than `but`, and running reward jobs hold."""
    claims = Claim.objects.filter(budget.within(expert="item__expert", experiment="item__batch__experiment"), ended=None)
    sums = claims.exclude(pk__in=[claim.pk for claim in but]).aggregate(**OF_CLAIMS)
    jobs = Batch.objects.filter(budget.within(user=""), closed=None, held__gt=0).aggregate(**OF_JOBS)
    return Decimal(sums[budget.unit] or 0) + Decimal(jobs.get(budget.unit) or 0)


def held_by(found: Sequence[Budget]) -> dict[int, Decimal]:
    """What is reserved of each, by its id. Two statements, however many budgets there are."""
    claims = Claim.objects.filter(ended=None).order_by().values("item__expert", "item__batch__experiment", "user")
    claims = claims.annotate(**OF_CLAIMS)
    open_claims: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((row["item__expert"], row["item__batch__experiment"], row["user"]), dict(row)) for row in claims
    ]
    jobs = Batch.objects.filter(closed=None, held__gt=0).order_by().values("expert", "experiment")
    jobs = jobs.annotate(**OF_JOBS)
    by_jobs: list[tuple[tuple[Any, ...], dict[str, Any]]] = [((row["expert"], row["experiment"], None), dict(row)) for row in jobs]
    sums = {}
    for budget in found:
        scope = (budget.expert_id, budget.experiment or None, budget.user_id)
        held_there = (row for whose, row in open_claims + by_jobs if all(wanted in (None, there) for wanted, there in zip(scope, whose, strict=True)))
        sums[budget.pk] = sum((Decimal(row.get(budget.unit) or 0) for row in held_there), Decimal(0))
    return sums


def affordable(expert: Expert, experiment: str, wanted: int, each: Cost) -> int:
    """How many of `wanted` verdicts, at a cost of `each`, the hard budgets have room for beside what is spent and held. Locks the budgets."""
    for budget in _locked(expert.pk, experiment, None):
        need = amount(each, budget.unit)
        if need > 0:
            wanted = min(wanted, int((budget.limit - budget.spent - held(budget)) // need))
    return max(0, wanted)


def hold_rewards(batch: Batch, wanted: int, each: Cost) -> int:
    """Reserve up to `wanted` verdicts, each at most at that cost, for the job that fills a reward batch; how many were had.

    Asked again for the same batch, it is what the batch has already.
    """
    with transaction.atomic():
        locked = Batch.objects.select_for_update(no_key=True).get(pk=batch.pk)
        if not locked.held and locked.closed is None:
            locked.held = affordable(batch.expert, batch.experiment, wanted, each)
            locked.held_money, locked.held_tokens = each.money, Decimal(each.tokens)
            locked.save(update_fields=["held", "held_money", "held_tokens"])
        batch.held = locked.held
    return batch.held


# Ending early ------------------------------------------------------------------------------------------------------------------


def exhausted() -> QuerySet[Budget]:
    """Hard budgets of which nothing is left for anybody."""
    nothing_left = Q(spent__gte=F("limit")) | Q(short__isnull=False)
    return Budget.objects.filter(nothing_left, ended=None, hard=True, user=None).select_related("expert")


def waiting_under(budget: Budget) -> QuerySet[Item]:
    """Texts that wait for verdicts which the budget limits."""
    items = Item.objects.filter(state=Item.State.READY, batch__closed=None).exclude(batch__purpose=Batch.Purpose.REWARD)
    return items.filter(budget.within(experiment="batch__experiment", user=""))


def note_reached(now: datetime) -> int:
    """Write down, once, which limits were reached; how many."""
    reached = Budget.objects.filter(ended=None, warned=None, spent__gte=F("limit")).order_by("pk")
    with transaction.atomic():
        found = list(reached.select_related("expert", "user").select_for_update(of=("self",), no_key=True))
        for budget in found:
            audit.record(None, "limit reached", budget, **_described(budget))
        Budget.objects.filter(pk__in=[budget.pk for budget in found]).update(warned=now)
    return len(found)


# What admins decide ------------------------------------------------------------------------------------------------------------


def set_budget(
    *, unit: str, limit: Any, expert: Expert | None = None, experiment: str = "", user: Any = None, hard: bool = True, actor: Any = None
) -> Budget:
    """Limit what verdicts may cost from now on, or change such a limit; it holds at once. What was spent under it before still counts.

    Raises `InvalidBudget` (what is wrong, by field).
    """
    number = _limit(unit, limit)
    if expert is not None and expert.kind == Expert.Kind.MIXED:
        raise InvalidBudget({"expert": f"{expert} stands for several experts, who give the verdicts: limit those, or an experiment."})
    with transaction.atomic():
        scope = {"expert": expert, "experiment": experiment, "user": user, "unit": unit, "ended": None}
        budget, made = Budget.objects.select_for_update(no_key=True, of=("self",)).get_or_create(**scope, defaults={"limit": number, "hard": hard})
        before = None if made else {"limit": str(budget.limit), "hard": budget.hard}
        if not made:
            budget.limit, budget.hard = number, hard
            budget.short, budget.warned = None, budget.warned if budget.spent >= number else None
            budget.save(update_fields=["limit", "hard", "short", "warned"])
        audit.record(actor, "limited", budget, before=before, **_described(budget))
    return budget


def end_budget(budget: Budget, *, actor: Any, now: datetime | None = None) -> Budget:
    """It limits nothing any more; what was spent under it stays on record. Ending it twice changes nothing."""
    with transaction.atomic():
        budget = Budget.objects.select_for_update(of=("self",), no_key=True).select_related("expert", "user").get(pk=budget.pk)
        if budget.ended is None:
            budget.ended = now or timezone.now()
            budget.save(update_fields=["ended"])
            audit.record(actor, "lifted", budget, **_described(budget))
    return budget


def _limit(unit: str, limit: Any) -> Decimal:
    errors = {}
    if unit not in Unit.values:
        errors["unit"] = f"A budget is in {', '.join(Unit.values)}, not in {unit!r}."
    try:
        number = Decimal(str(limit))
    except ArithmeticError:
        number = Decimal(-1)
    if not number.is_finite() or not 0 <= number < 10**12:
        errors["limit"] = "A limit is a number of 0 or more."
    elif unit == Unit.SAMPLES and number != int(number):
        errors["limit"] = "Verdicts are counted in whole numbers."
    if errors:
        raise InvalidBudget(errors)
    return number


def _described(budget: Budget) -> dict[str, Any]:
    who = {"expert": budget.expert.alias if budget.expert else None, "user": budget.user_id, "experiment": budget.experiment}
    return who | {"unit": str(budget.unit), "limit": str(budget.limit), "spent": str(budget.spent), "hard": budget.hard}
