"""Feedback as rows for a file: who said what about which text, and where everything in it comes from."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.db.models import QuerySet

from annotation.models import Feedback, Span, digest_of

AT_ONCE = 500  # rows in memory
# Signs that some readers take for the end of a line, and JSON does not escape: no text may break a row in two.
BREAKS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\x85\u2028\u2029"}


def rows(feedback: QuerySet[Feedback]) -> Iterator[dict[str, Any]]:
    """One JSON-able dict per verdict, in the order of their making, in constant memory."""
    related = ("author", "expert", "item__batch__domain", "item__rollout__prompt")
    stream = feedback.order_by("pk").select_related(*related).iterator(chunk_size=AT_ONCE)
    while chunk := list(islice(stream, AT_ONCE)):
        # Not prefetch_related: it ties each row into a cycle, and all of them stay until the garbage collector comes.
        spans = defaultdict(list)
        for span in Span.objects.filter(feedback__in=chunk).order_by("start", "pk"):
            spans[span.feedback_id].append(span)
        yield from (_row(row, spans[row.pk]) for row in chunk)


def line(row: dict[str, Any]) -> str:
    """A row as JSON, in one line whatever its texts hold."""
    return json.dumps(row, ensure_ascii=False).translate(BREAKS)


def _row(row: Feedback, spans: list[Span]) -> dict[str, Any]:
    item, batch, rollout = row.item, row.item.batch, row.item.rollout
    return {
        "id": row.pk,
        "reviewer": row.author.get_username() if row.author else row.expert.alias,
        "expert": row.expert.alias,
        "expert_options": row.expert_options,
        "domain": batch.domain.slug,
        "experiment": batch.experiment,
        "batch": batch.key,
        "purpose": batch.purpose,
        "strategy": batch.strategy,
        "item": item.pk,
        "slot": item.slot,
        "control": item.control,
        "prompt": rollout.prompt.text,
        "prompt_digest": rollout.prompt.digest,
        "grading_prompt_digest": digest_of(batch.domain.grading_prompt),
        "split": rollout.prompt.split,
        "rollout": rollout.pk,
        "run": rollout.run,
        "step": rollout.step,
        "index": rollout.index,
        "checkpoint": rollout.checkpoint,
        "sampling": rollout.sampling,
        "content": rollout.content,
        "proxy": batch.proxy,
        "score": row.score,
        "critique": row.critique,
        "deliberation": row.deliberation,
        "unscored_reason": row.unscored_reason,
        "usage": row.usage,
        "revision": row.revision,
        "revision_reason": row.reason,
        "assisted": row.assisted,
        "current": row.current,
        "counted": row.counted,
        "started": row.started.isoformat(),
        "submitted": row.submitted.isoformat(),
        "seconds": row.seconds,
        "spans": [{"start": s.start, "end": s.end, "quote": s.quote, "sign": s.sign, "comment": s.comment} for s in spans],
    }
