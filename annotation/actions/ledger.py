"""The ledger: what each verdict cost, entered in the statement that settles it, and added to the budgets that limit it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import QuerySet, Sum

from annotation import costs
from annotation.models import Batch, Budget, Charge, Feedback, Price


def applies(expert: str, experiment: str, user: str) -> str:
    """SQL: whether `budget` limits what `user` (or nobody) does for an expert and an experiment, which are SQL too."""
    return (
        f"budget.ended IS NULL AND budget.created <= %(now)s AND (budget.expert_id IS NULL OR budget.expert_id = {expert}) "
        f"AND (budget.experiment = '' OR budget.experiment = {experiment}) AND (budget.user_id IS NULL OR budget.user_id = {user})"
    )


# The end of a statement's WITH: charges, as JSON, go into the ledger and onto the budgets that they fall under, which are locked by id.
CHARGE = f"""
due AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(charges)s::jsonb) AS due(feedback_id bigint, expert_id bigint, user_id bigint, experiment text, purpose text,
        samples integer, money numeric, tokens bigint, minutes numeric, price_id bigint)
), charged AS (
    INSERT INTO annotation_charge (feedback_id, expert_id, user_id, experiment, purpose, samples, money, tokens, minutes, price_id, at)
    SELECT feedback_id, expert_id, user_id, experiment, purpose, samples, money, tokens, minutes, price_id, %(now)s FROM due
), limiting AS MATERIALIZED (
    SELECT budget.id FROM annotation_budget budget
    WHERE EXISTS (SELECT FROM due WHERE {applies("due.expert_id", "due.experiment", "due.user_id")})
    ORDER BY budget.id FOR NO KEY UPDATE OF budget
), paid AS (
    UPDATE annotation_budget budget SET spent = budget.spent + (
        SELECT sum(CASE budget.unit WHEN 'samples' THEN due.samples WHEN 'money' THEN due.money WHEN 'tokens' THEN due.tokens ELSE due.minutes END)
        FROM due WHERE {applies("due.expert_id", "due.experiment", "due.user_id")})
    FROM limiting WHERE budget.id = limiting.id
)
"""  # noqa: S608 (SQL from above)


def due(feedback: Feedback, batch: Batch, price: Price | None) -> dict[str, Any] | None:
    """The row of the ledger for a stored verdict, as `CHARGE` takes it; None for a person's extra one, which is not paid.

    A program's extra verdict cost what it cost, but is no sample.
    """
    person = feedback.author_id is not None
    if person and not feedback.counted:
        return None
    found = costs.cost(price, feedback.usage, feedback.seconds / 60 if person else 0)
    return {
        "feedback_id": feedback.pk,
        "expert_id": feedback.expert_id,
        "user_id": feedback.author_id,
        "experiment": batch.experiment,
        "purpose": batch.purpose,
        "samples": int(feedback.counted),
        "money": str(found.money),
        "tokens": found.tokens,
        "minutes": str(found.minutes),
        "price_id": price.pk if price else None,
    }


def charge(rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Enter what `due` gave."""
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(f"WITH {CHARGE} SELECT", {"charges": json.dumps(list(rows)), "now": now})


def charges_under(budget: Budget) -> QuerySet[Charge]:
    """What was charged within its scope, from its making on."""
    rows = Charge.objects.filter(budget.within(), at__gte=budget.created)
    return rows.filter(at__lte=budget.ended) if budget.ended is not None else rows


def mismatched() -> list[Budget]:
    """Budgets whose `spent` is not the sum of their charges. There should be none."""
    wrong = []
    for budget in Budget.objects.filter(ended=None).select_related("expert", "user"):
        if (charges_under(budget).aggregate(sum=Sum(budget.unit))["sum"] or 0) != budget.spent:
            wrong.append(budget)
    return wrong
