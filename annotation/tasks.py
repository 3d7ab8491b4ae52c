"""Programs and language models as experts: they go through the same doors as people do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from celery import shared_task
from django.utils import timezone

from annotation import actions, experts, querysets, trials, validation
from annotation.actions import audit
from annotation.actions.batches import close_complete, start_answering
from annotation.models import AuditEntry, Batch, Claim, Expert
from grading.errors import GraderError, GraderRefused
from grading.types import Case, Judge, Verdict

logger = logging.getLogger(__name__)

CHUNK = {Expert.Kind.LLM: 32, Expert.Kind.PROGRAM: 128}  # items leased, judged and handed in together: what a crash has to do again
STALE_AT_ONCE = 1000
FAILED = "expert failed"
LONG = 600.0  # seconds until the sweep tries again after a failure that trying again does not mend


@shared_task(bind=True, max_retries=5)
def answer_batch(self: Any, batch_id: int) -> int:
    """Have the batch's program or language model answer what is waiting; how many items were answered.

    Run twice, at once or later, it answers each item once. On a `GraderError` the items in hand are given back and the task tries again
    when the error allows it; other failures give them back too, and the sweep tries again later.
    """
    batch = Batch.objects.select_related("expert", "domain").get(pk=batch_id)
    if batch.expert.kind == Expert.Kind.HUMAN or not batch.expert.active:
        return 0
    try:
        return answer(batch, experts.load_judge(batch.expert))
    except GraderError as exc:
        _note_failure(batch, exc, exc.retry.after_seconds if exc.retry.allowed else LONG)
        if exc.retry.allowed:
            raise self.retry(exc=exc, countdown=exc.retry.after_seconds) from exc
        raise
    except Exception as exc:
        _note_failure(batch, exc, LONG)
        raise


@shared_task
def sweep() -> dict[str, int]:
    """Find what was dropped: end stale leases, close what is complete, and set programs to work on batches that nobody works on."""
    now = timezone.now()
    expired = 0
    while ended := actions.expire_claims(now, limit=STALE_AT_ONCE):
        expired += ended
    closed = close_complete(querysets.complete())
    waiting = [batch.pk for batch in querysets.unattended(now) if not _resting(batch, now)]
    for batch_id in waiting:
        start_answering(batch_id)
    return {"expired": expired, "closed": closed, "restarted": len(waiting)}


@shared_task
def try_verdict(token: str) -> None:
    """Have a judge say what it makes of one text; see `annotation.trials`."""
    trials.carry_out(token)


def answer(batch: Batch, judge: Judge) -> int:
    """Lease a chunk, have it judged, hand it in, until nothing waits. No transaction is open while the judge is at work."""
    answered = 0
    with asyncio.Runner() as runner:  # one loop for all chunks: clients keep their connections
        while claims := actions.claim_next(expert=batch.expert, batch=batch, limit=CHUNK[Expert.Kind(batch.expert.kind)]):
            try:
                verdicts, failure = _judge(runner, judge, batch, claims)
                given = [(claim, verdict) for claim, verdict in zip(claims, verdicts, strict=True) if verdict is not None]
                if given:
                    actions.submit_many([_answer(claim, verdict) for claim, verdict in given])
                if failure is not None:
                    raise failure
            except BaseException:
                actions.release_many([claim.token for claim in claims], reason=FAILED)  # those that were handed in have ended
                raise
            answered += len(claims)
    return answered


def _judge(runner: asyncio.Runner, judge: Judge, batch: Batch, claims: Sequence[Claim]) -> tuple[list[Verdict | None], GraderError | None]:
    """A verdict for each claim; where the judge fails on the way, those that were had before (they are paid for), None for the rest, and why."""
    verdicts: list[Verdict | None] = []
    for slot, group in groupby(claims, key=lambda claim: claim.item.slot):  # claims come slot by slot
        held = list(group)
        # Repeated verdicts on one rollout must not share their noise. A program's seed stands for the text alone, whatever company it
        # comes in; a language model samples a chunk at a time, and two chunks must not draw alike.
        seed = batch.seed + slot + (held[0].item_id if batch.expert.kind == Expert.Kind.LLM else 0)
        cases = [Case(claim.item.rollout.prompt.text, claim.item.rollout.content) for claim in held]
        try:
            verdicts += _grade(runner, judge, cases, seed)
        except GraderError as exc:
            verdicts += exc.partial
            return verdicts + [None] * (len(claims) - len(verdicts)), exc
    return verdicts, None


def _grade(runner: asyncio.Runner, judge: Judge, cases: list[Case], seed: int) -> list[Verdict]:
    """Verdicts on all cases. One that the model declines to judge is unscored, and takes no other with it."""
    try:
        verdicts = runner.run(judge.grade(cases, seed=seed))
    except GraderRefused as exc:
        if len(cases) == 1:
            return [Verdict.unscored(f"declined: {exc}")]
        had: list[Verdict] = []
        for case in cases:
            try:
                had += _grade(runner, judge, [case], seed)
            except GraderError as exc:
                exc.partial = [*had, *(exc.partial or [None])]
                raise
        return had
    if len(verdicts) != len(cases):
        raise RuntimeError(f"{type(judge).__name__} gave {len(verdicts)} verdicts on {len(cases)} cases")
    return verdicts


def _answer(claim: Claim, verdict: Verdict) -> actions.Answer:
    """The verdict as an answer to the claim. What is no valid verdict is kept as it came, unscored, with the reason."""
    reason = verdict.unscored_reason
    score = None if reason else verdict.score
    if not reason:
        wrong = validation.problems(claim.item.batch.domain, critique=verdict.critique, score=score)
        reason, score = " ".join(wrong.values()), (None if wrong else score)
    usage = asdict(verdict.usage) | ({"models": list(verdict.models)} if verdict.models else {})
    return actions.Answer(claim.token, f"claim-{claim.token}", verdict.critique, verdict.deliberation, score, verdict.raw, usage, reason)


def _note_failure(batch: Batch, exc: Exception, seconds: float) -> None:
    until = timezone.now() + timedelta(seconds=seconds)
    logger.warning("%s could not answer batch %s: %s", batch.expert.alias, batch.pk, exc)
    audit.record(None, FAILED, batch, error=f"{type(exc).__name__}: {exc}", not_before=until.isoformat(), experiment=batch.experiment)


def _resting(batch: Batch, now: datetime) -> bool:
    """Whether the batch's expert failed lately and is not to be asked again yet."""
    last = AuditEntry.objects.filter(target=f"batch:{batch.pk}", verb=FAILED).first()
    return last is not None and datetime.fromisoformat(last.data["not_before"]) > now
