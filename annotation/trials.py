"""Trial verdicts: a judge is asked about one text before anything depends on it. They are kept nowhere but in the cache, for an hour.

No verdict is kept, so the ledger knows nothing of them; where an expert's budget is used up nobody is asked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from django.core.cache import caches
from django.db import transaction

from annotation import experts, validation
from annotation.actions.budgets import affordable
from annotation.costs import Cost
from annotation.models import Domain, Expert
from grading.errors import ConfigurationError, GraderError, GraderRefused
from grading.types import Case, Verdict

logger = logging.getLogger(__name__)

KEPT = 3600  # seconds
TAKEN_WITHIN = 60  # seconds in which a worker takes it, or nobody does
ANSWERED_WITHIN = 900  # seconds after which no answer is waited for any more


def start(*, user: Any, domain: Domain, expert: Expert, instructions: str, content: str) -> str:
    """Have `expert` judge `content` in a task; the token to look for the outcome with."""
    from annotation.tasks import try_verdict  # the task uses this module

    token = str(uuid4())
    trial = {"state": "waiting", "user": user.pk, "domain": domain.pk, "expert": expert.pk, "name": expert.name, "asked": time.time()}
    caches["shared"].set(_key(token), trial | {"instructions": instructions, "content": content}, KEPT)
    try:
        try_verdict.apply_async((token,), retry=False, expires=TAKEN_WITHIN)
    except Exception as exc:
        logger.warning("could not send the task of a trial verdict: %s", exc)
        _update(token, state="failed", error="The queue of tasks cannot be reached, so nobody was asked. manage.py doctor says what is wrong.")
    return token


def find(token: str, *, user: Any, domain: Domain) -> dict[str, Any] | None:
    """The trial, with `state`: waiting, running, done, failed. None where there is none (any more), or it is somebody else's."""
    trial: dict[str, Any] | None = caches["shared"].get(_key(token))
    if trial is None or trial["user"] != user.pk or trial["domain"] != domain.pk:
        return None
    age = time.time() - trial["asked"]
    if trial["state"] == "waiting" and age > TAKEN_WITHIN + 5:
        trial |= {"state": "failed", "error": "No worker took it within a minute, so nobody was asked. Is one running? manage.py doctor says."}
    if trial["state"] == "running" and age > ANSWERED_WITHIN:
        trial |= {"state": "failed", "error": "There is no answer after 15 minutes; the worker may have been stopped. Try again."}
    return trial


def carry_out(token: str) -> None:
    """Ask the judge, and keep what it says. Called by a task: a judge may load a model, which the web process must not."""
    trial = caches["shared"].get(_key(token))
    if trial is None or trial["state"] != "waiting":
        return
    _update(token, state="running")
    began = time.monotonic()
    outcome = _outcome(trial)
    _update(token, **outcome, seconds=time.monotonic() - began)


def _outcome(trial: dict[str, Any]) -> dict[str, Any]:
    try:
        domain, expert = Domain.objects.get(pk=trial["domain"]), Expert.objects.get(pk=trial["expert"])
        with transaction.atomic():
            if not affordable(expert, "", 1, Cost()):
                return {"state": "failed", "error": f"The budget of {expert} is used up, so it was not asked. An admin can raise it."}
        judge = experts.load_judge(expert)
        (verdict,) = asyncio.run(judge.grade([Case(trial["instructions"], trial["content"])], seed=0))
    except GraderRefused as exc:
        return {"state": "failed", "error": f"It declined to judge this text: {exc}"}
    except GraderError as exc:
        again = " The same may work later." if exc.retry.allowed else ""
        return {"state": "failed", "error": f"No verdict could be had: {exc}.{again}"}
    except ConfigurationError as exc:
        return {"state": "failed", "error": f"The expert is set up wrongly: {exc}."}
    except Exception as exc:
        # Other people's code: what it says may hold a key, and is for the log.
        logger.exception("a trial verdict failed")
        return {"state": "failed", "error": f"The program failed with {type(exc).__name__}. The worker's log has the details."}
    return {"state": "done", "verdict": _shown(domain, verdict)}


def _shown(domain: Domain, verdict: Verdict) -> dict[str, Any]:
    reason = verdict.unscored_reason or " ".join(validation.problems(domain, critique=verdict.critique, score=verdict.score).values())
    words = {name: getattr(verdict, name) for name in ("critique", "deliberation", "raw")}
    return words | {"score": None if reason else verdict.score, "reason": reason, "usage": asdict(verdict.usage), "models": list(verdict.models)}


def _update(token: str, **changes: Any) -> None:
    trial = caches["shared"].get(_key(token))
    if trial is not None:
        caches["shared"].set(_key(token), trial | changes, KEPT)


def _key(token: str) -> str:
    return f"trial:{token}"
