"""What verdicts cost from a day on. Prices are never edited: what was charged names the one that held."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from annotation.actions import audit
from annotation.errors import InvalidBudget
from annotation.models import Price

AMOUNTS = ("input", "output", "cache_read", "cache_write", "batch_discount", "per_verdict", "per_minute")


def add_price(*, name: str, since: date, actor: Any = None, past: bool = False, **amounts: Decimal) -> Price:
    """A price of that name from the day `since` on (UTC), in dollars; `amounts` as in `Price`, what is not named is 0.

    Verdicts that are charged already keep their price. So a day that is over is taken only where `past` says that this is meant. Raises
    `InvalidBudget` (what is wrong, by field).
    """
    price = Price(name=name.strip(), since=since, **amounts)
    errors = {}
    try:
        price.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as exc:
        errors = {field: " ".join(messages) for field, messages in exc.message_dict.items()}
    errors |= {field: "A price is 0 or more." for field in AMOUNTS if field not in errors and getattr(price, field) < 0}
    if "batch_discount" not in errors and price.batch_discount > 1:
        errors["batch_discount"] = "A discount is a share from 0 to 1: 0.5 is half price."
    if "since" not in errors and since < timezone.now().date() and not past:
        errors["since"] = "That day is over: verdicts since then keep what they were charged. Confirm that it is meant, or choose today."
    if errors:
        raise InvalidBudget(errors)
    try:
        with transaction.atomic():
            price.save()
            audit.record(actor, "priced", price, name=price.name, since=str(since), **{field: str(getattr(price, field)) for field in AMOUNTS})
    except IntegrityError as exc:
        taken = f"There is a price “{price.name}” from that day on already, and prices are never edited. Choose a later day."
        raise InvalidBudget({"since": taken}) from exc
    return price
