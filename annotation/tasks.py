"""Programs and language models as experts: they go through the same doors as people do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from annotation import actions, costs, experts, provider, querysets, trials, validation
from annotation.actions.batches import close_complete, start_answering
from annotation.actions.budgets import Most
from annotation.actions.outages import FAILED
from annotation.models import Batch, Claim, Expert, Price
from annotation.routing import seen_by
from grading.errors import GraderError, GraderRefused, StillRunning
from grading.models.base import BatchHandle, derive_seed, repeatable
from grading.secrecy import clean, hiding
from grading.types import Case, Judge, Verdict

logger = logging.getLogger(__name__)

CHUNK = {Expert.Kind.LLM: 32, Expert.Kind.PROGRAM: 128}  # items leased, judged and handed in together: what a crash has to do again
SUBMITTED_AT_ONCE = 500
STALE_AT_ONCE = 1000
GRACE = 60.0  # seconds that a task may come late; then the sweep has sent another


@shared_task(bind=True, max_retries=None)
def answer_batch(self: Any, batch_id: int) -> int:
    """Have the batch's programs and language models answer what is waiting; how many items were answered.

    Run twice, at once or later, it answers each item once. On a failure the items in hand are given back and the expert rests, see
    `actions.outages`; what waits at a provider stays leased. The task comes again by itself, and where it gets lost the sweep sends another.
    """
    batch = Batch.objects.select_related("domain").get(pk=batch_id)
    answered, failure = 0, None
    for expert in batch.experts.filter(kind__in=Expert.ALONE, active=True).order_by("pk"):
        try:
            answered += _have_answered(self, seen_by(batch, expert))
        except Exception as exc:  # the others are asked all the same
            failure = failure or exc
    if failure is not None:
        raise failure
    return answered


def _have_answered(task: Any, batch: Batch) -> int:
    began = timezone.now()
    first = actions.may_ask(batch, began)
    if first is None:
        return 0
    try:
        answered = answer(batch, experts.load_judge(batch.expert), first=first)
    except StillRunning as exc:
        raise _later(task, exc, exc.retry.after_seconds) from exc
    except (InterfaceError, OperationalError):
        raise  # the database is away, which the expert cannot help
    except Exception as exc:
        rest = actions.expert_failed(batch, exc, began=began)
        if isinstance(exc, GraderError) and exc.retry.allowed:
            raise _later(task, exc, rest) from exc
        raise
    if first and not answered:
        actions.probe_over(batch)
    return answered


def _later(task: Any, exc: Exception, seconds: float) -> Exception:
    return task.retry(exc=exc, countdown=seconds, expires=seconds + GRACE, throw=False)


@shared_task
def sweep() -> dict[str, int]:
    """Find what was dropped: end stale leases and what no budget pays, close what is complete, and set programs to work where nobody works."""
    now = timezone.now()
    expired = 0
    while ended := actions.expire_claims(now, limit=STALE_AT_ONCE):
        expired += ended
    actions.reroute(now)
    actions.end_exhausted()
    actions.note_reached(now)
    closed = close_complete(querysets.complete())
    waiting = [batch.pk for batch in querysets.unattended(now)]
    for batch_id in waiting:
        start_answering(batch_id)
    return {"expired": expired, "closed": closed, "restarted": len(waiting)}


@shared_task
def try_verdict(token: str) -> None:
    """Have a judge say what it makes of one text; see `annotation.trials`."""
    trials.carry_out(token)


def answer(batch: Batch, judge: Judge, *, first: int = 0) -> int:
    """Lease a chunk, have it judged, hand it in, until nothing waits. No transaction is open while the judge is at work.

    A judge that makes batches at its provider gets all at once. `first`: how many items of others make the first chunk; 0: as many as go.
    """
    answered = 0
    price = costs.price_of(batch.expert, timezone.now().date())
    most = partial(_most, price, judge)
    handle = provider.handle(batch, judge, most)
    if handle is not None and not handle.attend():
        return 0
    try:
        with asyncio.Runner() as runner:  # one loop for all chunks: clients keep their connections
            while claims := _take(batch, handle, first, most):
                first = 0
                try:
                    _answer_all(runner, judge, batch, claims, handle)
                except BaseException as exc:
                    if handle is not None and isinstance(exc, StillRunning):
                        handle.wait(claims, exc)
                        actions.expert_answered(batch)
                    else:  # those that were handed in have ended
                        actions.release_many([claim.token for claim in claims], reason=FAILED)
                    raise
                answered += len(claims)
    finally:
        if handle is not None:
            handle.leave()
    actions.end_exhausted()  # what kept it from answering more
    return answered


def _most(price: Price | None, judge: Judge, claim: Claim) -> costs.Cost | None:
    return costs.most(price, judge, Case(claim.item.rollout.prompt.text, claim.item.rollout.content))


def _take(batch: Batch, handle: provider.Kept | None, first: int, most: Most) -> list[Claim]:
    if handle is not None:
        return handle.take()
    return actions.claim_next(expert=batch.expert, batch=batch, limit=first or CHUNK[Expert.Kind(batch.expert.kind)], most=most)


def _answer_all(runner: asyncio.Runner, judge: Judge, batch: Batch, claims: Sequence[Claim], handle: BatchHandle | None) -> None:
    """Have them judged, and hand in what came. Raises what kept the others from being judged."""
    verdicts, failure = _judge(runner, judge, batch, claims, handle)
    hide = hiding(settings.EXPERTS, batch.expert.options, environment=False)
    given = [_answer(claim, clean(verdict, hide), handle is not None) for claim, verdict in zip(claims, verdicts, strict=True) if verdict is not None]
    for start in range(0, len(given), SUBMITTED_AT_ONCE):
        actions.submit_many(given[start : start + SUBMITTED_AT_ONCE])
    if given:
        actions.expert_answered(batch)
    if failure is not None:
        raise failure


def _judge(
    runner: asyncio.Runner, judge: Judge, batch: Batch, claims: Sequence[Claim], handle: BatchHandle | None
) -> tuple[list[Verdict | None], GraderError | None]:
    """A verdict for each claim; where the judge fails on the way, those that were had before (they are paid for), None for the rest, and why."""
    verdicts: list[Verdict | None] = []
    waiting: StillRunning | None = None
    before = provider.asked_before(claims) if batch.expert.kind == Expert.Kind.LLM else {}
    # Claims come slot by slot, but for hidden repeats among them, and those of `handle` altogether.
    for (slot, times), group in groupby(claims, key=lambda claim: (claim.item.slot, before.get(claim.item_id, 0))):
        held = list(group)
        # Repeated verdicts on one rollout must not share their noise. A program's seed stands for the text alone, whatever company it
        # comes in; a language model samples a chunk at a time, and two chunks must not draw alike: by their place, which is the same when an
        # experiment is run again, as ids are not. A provider's batches are found by the seed.
        alone = batch.expert.kind != Expert.Kind.LLM or handle is not None
        seed = batch.seed + slot if alone else derive_seed(batch.seed, held[0].item.position)
        name = f"{slot}" if not times else f"{slot}-{times}"
        asked = _Asked(runner, judge, derive_seed(seed, times) if times else seed, f"{batch.key}/{name}", handle and handle.part(name))
        try:
            verdicts += asked.about([Case(claim.item.rollout.prompt.text, claim.item.rollout.content) for claim in held])
        except StillRunning as exc:  # the others are sent all the same
            waiting = exc
            verdicts += exc.partial or [None] * len(held)
        except GraderError as exc:
            verdicts += exc.partial
            return verdicts + [None] * (len(claims) - len(verdicts)), exc
    return verdicts, waiting


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one call of `grade` needs besides the cases."""

    runner: asyncio.Runner
    judge: Judge
    seed: int
    work: str
    batches: BatchHandle | None

    def about(self, cases: list[Case]) -> list[Verdict]:
        """Verdicts on all cases. One that the model declines to judge is unscored, and takes no other with it."""
        try:
            verdicts = self.runner.run(self._grade(cases))
        except GraderRefused as exc:
            if len(cases) == 1:
                return [Verdict.unscored(f"declined: {exc}")]
            had: list[Verdict] = []
            for case in cases:
                try:
                    had += self.about([case])
                except GraderError as exc:
                    exc.partial = [*had, *(exc.partial or [None])]
                    raise
            return had
        if len(verdicts) != len(cases):
            raise RuntimeError(f"{type(self.judge).__name__} gave {len(verdicts)} verdicts on {len(cases)} cases")
        return verdicts

    async def _grade(self, cases: list[Case]) -> list[Verdict]:
        more: dict[str, Any] = {} if self.batches is None else {"batches": self.batches}
        with repeatable(self.work):
            return await self.judge.grade(cases, seed=self.seed, **more)


def _answer(claim: Claim, verdict: Verdict, by_batch: bool) -> actions.Answer:
    """The verdict as an answer to the claim. What is no valid verdict is kept as it came, unscored, with the reason."""
    reason = verdict.unscored_reason
    score = None if reason else verdict.score
    if not reason:
        wrong = validation.problems(claim.item.batch.domain, critique=verdict.critique, score=score)
        reason, score = " ".join(wrong.values()), (None if wrong else score)
    usage = asdict(verdict.usage) | ({"models": list(verdict.models)} if verdict.models else {})
    if by_batch:
        usage["batch"] = True  # which costs less
    return actions.Answer(claim.token, f"claim-{claim.token}", verdict.critique, verdict.deliberation, score, verdict.raw, usage, reason)
