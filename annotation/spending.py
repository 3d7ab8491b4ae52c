"""What the pages on budgets, prices and the ledger show, read from the rows. Writes nothing."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import DateTimeField, QuerySet, Sum
from django.db.models.functions import Trunc
from django.utils import timezone

from annotation import signals
from annotation.actions import budgets, ledger
from annotation.models import AuditEntry, Batch, Budget, Charge, Price

UNITS = Budget.Unit.values
MOST_LINES = 50  # of a table: the dearest; all of them are in the file
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet would calculate
COLUMNS = ("at", "expert", "person", "experiment", "purpose", "verdicts", "dollars", "tokens", "minutes", "price", "price since", "feedback")
AT_ONCE = 2000  # rows in memory


# Budgets -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A budget, what is reserved of it just now, and what is left then; all in its unit."""

    budget: Budget
    held: Decimal

    @property
    def title(self) -> str:
        """Whose verdicts it limits; people's and experts' names as they write them."""
        named_first = self.budget.expert_id or (self.budget.user_id and not self.budget.experiment)
        return self.budget.scope if named_first else self.budget.scope[:1].upper() + self.budget.scope[1:]

    @property
    def left(self) -> Decimal:
        return max(Decimal(0), self.budget.limit - self.budget.spent - self.held)

    @property
    def spent_share(self) -> float:
        """Of the limit, in percent, at most 100; of a limit of 0 all is spent."""
        return 100.0 if not self.budget.limit else min(100.0, round(float(100 * self.budget.spent / self.budget.limit), 2))

    @property
    def held_share(self) -> float:
        return 0.0 if not self.budget.limit else min(100.0 - self.spent_share, round(float(100 * self.held / self.budget.limit), 2))

    @property
    def reached(self) -> bool:
        return self.budget.spent >= self.budget.limit

    @property
    def state(self) -> str:
        """In words; "" where there is nothing to say."""
        if self.budget.ended is not None:
            return "ended"
        if self.reached:
            return "used up" if self.budget.hard else "reached: it only warns"
        return "too little left for one more verdict" if self.budget.short and self.budget.hard else ""


def described(found: Sequence[Budget]) -> list[Row]:
    """A row for each budget, in a fixed number of queries."""
    held = budgets.held_by([budget for budget in found if budget.ended is None])
    return [Row(budget, held.get(budget.pk, Decimal(0))) for budget in found]


def log(target: str, most: int = 20) -> list[dict[str, Any]]:
    """What was done to an object such as budget:3, the latest first: who, what, when, and in words what was otherwise before."""
    entries = AuditEntry.objects.filter(target=target).select_related("actor")[:most]
    return [{"entry": entry, "before": _before(entry.data)} for entry in entries]


def _before(data: dict[str, Any]) -> list[str]:
    after = data.get("to", data)
    return [f"{name} was {_said(value)}" for name, value in (data.get("before") or {}).items() if _said(value) != _said(after.get(name))]


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "empty"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return json.dumps(value)
    text = "" if value is None else str(value)
    return (f"{Decimal(text).normalize():f}" if re.fullmatch(r"\d+\.\d+", text) else text) or "empty"


def experiment_names() -> list[str]:
    """Of all experiments that there are, and of those for which somebody was ever asked."""
    told = [name for _, names in signals.experiments_named.send(sender=None) for name in names or ()]
    asked = Batch.objects.exclude(experiment="").order_by().values_list("experiment", flat=True).distinct()
    return sorted({*told, *asked})


def burn(budget: Budget, now: datetime) -> dict[str, Any]:
    """What was spent of a budget by when (seconds since 1970), beside the limit at that time; no `times` where nothing was spent."""
    end = budget.ended or now
    span = end - budget.created
    kind, step = ("minute", timedelta(minutes=1)) if span < timedelta(hours=4) else ("hour", timedelta(hours=1))
    if span > timedelta(days=14):
        kind, step = "day", timedelta(days=1)
    charges = ledger.charges_under(budget).order_by().annotate(bucket=Trunc("at", kind, output_field=DateTimeField())).values("bucket")
    spent: dict[datetime, Decimal] = defaultdict(Decimal)
    for row in charges.annotate(sum=Sum(budget.unit)).order_by("bucket"):
        spent[min(row["bucket"] + step, end)] += Decimal(row["sum"])
    if not spent:
        return {"unit": budget.unit, "times": [], "spent": [], "limit": []}
    limits = _limits(budget)
    points = sorted({budget.created, *spent, *(at for at, _ in limits if budget.created < at < end), end})
    total, sums, lines = Decimal(0), [], []
    for point in points:
        total += spent.get(point, Decimal(0))
        sums.append(float(total))
        lines.append(float([limit for at, limit in limits if at <= point][-1]))
    return {"unit": budget.unit, "times": [round(point.timestamp(), 3) for point in points], "spent": sums, "limit": lines}


def _limits(budget: Budget) -> list[tuple[datetime, Decimal]]:
    """Since when there was which limit, from the audit log."""
    changes = AuditEntry.objects.filter(target=f"budget:{budget.pk}", verb="limited").order_by("id")
    set_at = [(entry.at, entry.data) for entry in changes]
    found = [(at, Decimal(data["limit"])) for at, data in set_at]
    first = Decimal((set_at[0][1].get("before") or set_at[0][1])["limit"]) if set_at else budget.limit
    return [(budget.created, first), *found]


# Who spent what ----------------------------------------------------------------------------------------------------------------


def charged(since: date | None, until: date | None) -> QuerySet[Charge]:
    """The charges of a period of whole days, both of them within."""
    rows = Charge.objects.all()
    rows = rows.filter(at__gte=_midnight(since)) if since else rows
    return rows.filter(at__lt=_midnight(until + timedelta(days=1))) if until else rows


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


@dataclass(frozen=True, slots=True)
class Line:
    label: str
    samples: int
    money: Decimal
    tokens: int
    minutes: Decimal


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    lines: list[Line]
    more: bool  # there are others, which cost less


def totals(charges: QuerySet[Charge]) -> dict[str, Any]:
    """In all, by unit; None where nothing was charged."""
    return charges.aggregate(**{unit: Sum(unit) for unit in UNITS})


def tables(charges: QuerySet[Charge]) -> list[Table]:
    """By expert, experiment, person and month, one query each."""
    sums = {f"sum_{unit}": Sum(unit) for unit in UNITS}

    def table(title: str, keys: Sequence[str], label: Any, rows: QuerySet[Charge] = charges, order: str = "-sum_money") -> Table:
        ordered = (order,) if order != "-sum_money" else (order, "-sum_minutes", "-sum_samples", *keys)
        found = list(rows.order_by().values(*keys).annotate(**sums).order_by(*ordered)[: MOST_LINES + 1])
        lines = [Line(label(row), *(row[f"sum_{unit}"] for unit in UNITS)) for row in found[:MOST_LINES]]
        return Table(title, lines, len(found) > MOST_LINES)

    return [
        table("By expert", ("expert__name", "expert"), lambda row: row["expert__name"]),
        table("By experiment", ("experiment",), lambda row: row["experiment"] or "no experiment"),
        table("By person", ("user__username", "user"), lambda row: row["user__username"] or "programs and language models"),
        table(
            "By month",
            ("month",),
            lambda row: f"{row['month']:%B %Y}",
            charges.annotate(month=Trunc("at", "month", output_field=DateTimeField())),
            "-month",
        ),
    ]


def as_rows(charges: QuerySet[Charge]) -> Iterator[list[Any]]:
    """The ledger as rows for a file, in the order of its making and in constant memory: the head, then one for each charge."""
    yield list(COLUMNS)
    names = ("at", "expert__alias", "user__username", "experiment", "purpose", *UNITS, "price__name", "price__since", "feedback")
    for at, *rest in charges.order_by("pk").values_list(*names).iterator(chunk_size=AT_ONCE):
        yield [at.isoformat(), *(unformulated(value) for value in rest)]


def unformulated(value: Any) -> Any:
    """A text that a spreadsheet takes for text, whatever it begins with; other values as they are, None as ""."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


# Prices ------------------------------------------------------------------------------------------------------------------------


def prices_today(day: date) -> dict[str, Price]:
    """The price that holds on `day`, by name."""
    return {price.name: price for price in Price.objects.filter(since__lte=day).order_by("name", "-since").distinct("name")}


def price_words(price: Price | None) -> str:
    """What a verdict costs, in words; "nothing" where all is 0."""
    if price is None:
        return ""
    parts = []
    if price.input or price.output:
        parts.append(f"${_plain(price.input)} read and ${_plain(price.output)} written, per million tokens")
    if price.cache_read or price.cache_write:
        parts.append(f"cache: ${_plain(price.cache_read)} read, ${_plain(price.cache_write)} written")
    if price.batch_discount:
        parts.append(f"{_plain(100 * price.batch_discount)}% off by batch")
    if price.per_verdict:
        parts.append(f"${_plain(price.per_verdict)} a verdict")
    if price.per_minute:
        parts.append(f"${_plain(price.per_minute)} a minute")
    return "; ".join(parts) or "nothing"


def _plain(number: Decimal) -> str:
    whole = number == int(number)
    return f"{number:.0f}" if whole else f"{number:.2f}" if number == round(number, 2) else f"{number.normalize():f}"
