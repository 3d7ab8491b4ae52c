"""What training jobs wrote, into rows: in bulk, and once however often the same lines come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotation import costs, events, validation
from annotation.actions import audit, ledger
from annotation.actions.batches import lock_batches
from annotation.bulk import insert_new
from annotation.errors import InvalidSelection
from annotation.experts import snapshot
from annotation.models import Batch, Domain, Feedback, Item, Prompt, ProxyGrade, Rollout
from annotation.text import storable

Row = Mapping[str, Any]
REASON_LENGTH = 200


def record_rollouts(domain: Domain, run: str, rows: Iterable[Row]) -> int:
    """Keep the rollouts of `run`; how many were new. Rows are lines of a job's rollouts.jsonl.

    A row: prompt (id), step, index, completion, content, and where known finished, tokens, sampling, checkpoint. Raises
    `InvalidSelection` for a prompt that is not of the domain, and nothing is kept then.
    """
    rows = list(rows)
    wanted = {row["prompt"] for row in rows}
    fit = set(Prompt.objects.filter(domain=domain, pk__in=wanted).values_list("pk", flat=True))
    if unfit := sorted(wanted - fit):
        raise InvalidSelection(f"{run} has rollouts of prompts that are not of the domain {domain}: {', '.join(map(str, unfit[:5]))}.")
    now = timezone.now()
    values = [
        {
            "run": run,
            "prompt": row["prompt"],
            "step": row["step"],
            "index": row["index"],
            "completion": storable(row["completion"]),
            "content": storable(row["content"]),
            "finished": row.get("finished", True),
            "tokens": row.get("tokens", 0),
            "sampling": storable(row.get("sampling", {})),
            "checkpoint": row.get("checkpoint", ""),
            "created": now,
        }
        for row in rows
    ]
    with transaction.atomic():
        return insert_new(Rollout, values)


def record_proxy_grades(run: str, proxy_digest: str, rows: Iterable[Row]) -> int:
    """Keep the grading traces that the proxy version `proxy_digest` wrote in `run`; how many were new.

    A row names its rollout as `find_rollouts` takes it, and has sample (0, 1, ...), score (None where there is none), and where known
    critique, deliberation, raw, unscored_reason. Raises `InvalidSelection` for rollouts that are not there.
    """
    rows = list(rows)
    ids = find_rollouts(rows, run)
    now = timezone.now()
    values = [
        {"rollout": pk, "proxy": proxy_digest, "run": run, "sample": row["sample"], "score": row["score"], "created": now, **_words(row)}
        for pk, row in zip(ids, rows, strict=True)
    ]
    with transaction.atomic():
        return insert_new(ProxyGrade, values)


def record_reward_verdicts(batch: Batch, rows: Iterable[Row], *, run: str = "") -> int:
    """Keep the expert's verdicts that rewarded an RL job, as done items and feedback of `batch`; how many were new.

    A row names its rollout as `find_rollouts` takes it and has the verdict's fields, either itself or under "verdict". The batch stays
    open for more until `close_batch`. Raises `InvalidSelection` for rollouts that are not there, or not of the batch's domain.
    """
    rows = list(rows)
    ids = find_rollouts(rows, run, domain=batch.domain)
    verdicts = {pk: row.get("verdict") or row for pk, row in zip(ids, rows, strict=True)}
    with transaction.atomic():
        batch = lock_batches([batch.pk])[batch.pk]
        items = _done_items(batch, list(verdicts))
        new = _insert_verdicts(batch, items, verdicts)
        if new:
            Batch.objects.filter(pk=batch.pk).update(held=max(0, batch.held - new))
            _charge(batch, verdicts)
            audit.record(None, "rewarded", batch, verdicts=new, run=run, experiment=batch.experiment)
            events.batches_changed([batch])
    return new


def _done_items(batch: Batch, rollouts: Sequence[int]) -> dict[int, int]:
    """Item ids by rollout, all of them done: made where there are none."""
    first = batch.items.count()
    values = [
        {"batch": batch.pk, "rollout": pk, "expert": batch.expert_id, "slot": 0, "position": first + i, "state": Item.State.DONE, "control": ""}
        for i, pk in enumerate(rollouts)
    ]
    insert_new(Item, values)
    items = Item.objects.filter(batch=batch, slot=0, rollout__in=rollouts)
    waiting = items.exclude(state=Item.State.DONE).order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True)
    Item.objects.filter(pk__in=list(waiting)).update(state=Item.State.DONE)
    return dict(items.values_list("rollout_id", "pk"))


def _insert_verdicts(batch: Batch, items: Mapping[int, int], verdicts: Mapping[int, Row]) -> int:
    shared = {"expert": batch.expert_id, "revision": 1, "current": True, "counted": True, "expert_options": snapshot(batch.expert)}
    shared |= {"assisted": False, "reason": ""}
    shared["started"] = shared["submitted"] = timezone.now()
    values = []
    for pk, row in verdicts.items():
        words = _words(row)
        score, problem = validation.read_score(batch.domain, row["score"], required=False)
        words["unscored_reason"] = words["unscored_reason"] or problem
        own = {"item": items[pk], "key": f"reward-{batch.pk}-{pk}", "score": score, "usage": row.get("usage") or {}}
        values.append({**shared, **own, **words})
    return insert_new(Feedback, values)


def _charge(batch: Batch, rollouts: Iterable[int]) -> None:
    now = timezone.now()
    price = costs.price_of(batch.expert, now.date())
    unpaid = Feedback.objects.filter(item__batch=batch, item__rollout__in=list(rollouts), charge=None)
    ledger.charge([row for feedback in unpaid if (row := ledger.due(feedback, batch, price))], now)


def find_rollouts(rows: Sequence[Row], run: str, *, domain: Domain | None = None) -> list[int]:
    """The rollout's id for each row: its `rollout` or `id`, or else the one that (run, step, prompt, index) name; a row's own `run` goes first.

    Raises `InvalidSelection` naming the first that is not there (or not of `domain`).
    """
    given = {pk for row in rows if (pk := _given(row)) is not None}
    named = [row for row in rows if _given(row) is None]
    there = Rollout.objects.filter(prompt__domain=domain) if domain else Rollout.objects.all()
    ids = set(there.filter(pk__in=given).values_list("pk", flat=True))
    runs, steps, prompts = ({row.get("run", run) for row in named}, {row["step"] for row in named}, {row["prompt"] for row in named})
    found = there.filter(run__in=runs, step__in=steps, prompt__in=prompts) if named else there.none()
    by_name = {tuple(names): pk for pk, *names in found.values_list("pk", "run", "step", "prompt_id", "index")}
    result = []
    for row in rows:
        pk = _given(row)
        if pk is None:
            pk = by_name.get((row.get("run", run), row["step"], row["prompt"], row["index"]))
        elif pk not in ids:
            pk = None
        if pk is None:
            which = {key: row[key] for key in ("rollout", "id", "run", "step", "prompt", "index") if key in row}
            raise InvalidSelection(f"There is no rollout {which} of {run or 'this domain'}.")
        result.append(pk)
    return result


def _given(row: Row) -> int | None:
    value: int | None = row.get("rollout", row.get("id"))
    return value


def _words(row: Row) -> dict[str, str]:
    words = {name: str(storable(row.get(name) or "")) for name in ("critique", "deliberation", "raw", "unscored_reason")}
    words["unscored_reason"] = words["unscored_reason"][:REASON_LENGTH]
    return words
