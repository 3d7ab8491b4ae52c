"""What a reviewer's pages show, read from the rows. Writes nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone

from annotation import querysets, roles
from annotation.models import Batch, Budget, Claim, Domain, Draft, Expert, Feedback, Item, ProxyGrade, Span

# Said to people who do not know what a proxy is; no step and no model, so that the verdict stays blind.
PURPOSES = {
    Batch.Purpose.INITIAL: "to teach the grader",
    Batch.Purpose.UPDATE: "to teach the grader anew",
    Batch.Purpose.VALIDATION: "to test the grader",
    Batch.Purpose.CHECK: "to check the writer's progress",
    Batch.Purpose.EVAL: "to measure the writer's progress",
    Batch.Purpose.CALIBRATION: "to measure how steady verdicts are",
    Batch.Purpose.REWARD: "to reward the writer",
    Batch.Purpose.IMPORTED: "to judge texts that were brought in",
}
REASONS = {
    "random": "Chosen at random.",
    "max-variance": "Chosen where the grader is least sure.",
    "max-disagreement": "Chosen where the grader and you may disagree most.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One batch as one person sees it; counts are in items."""

    batch: Batch
    total: int
    done: int
    left: int  # ready, and this person may take them
    mine: int
    mine_today: int
    open_token: uuid.UUID | None

    @property
    def purpose(self) -> str:
        return PURPOSES[Batch.Purpose(self.batch.purpose)]

    @property
    def why(self) -> str:
        teaching = self.batch.purpose in (Batch.Purpose.INITIAL, Batch.Purpose.UPDATE)
        return self.batch.note or (REASONS.get(self.batch.strategy, "") if teaching else "")


def batches_of(user: Any) -> QuerySet[Batch]:
    """The batches of the panels that `user` is a member of."""
    return Batch.objects.filter(experts__kind="human", experts__members=user).select_related("domain", "expert").distinct()


def may_review(claim: Claim) -> bool:
    """Whether who holds the claim still reviews, and is still on the panel."""
    user = claim.user
    return user is not None and roles.is_expert(user) and claim.item.expert.members.filter(pk=user.pk).exists()


def recent_scores(user: Any, domain: Domain, most: int = 60) -> list[float]:
    """The last scores that this person gave in the domain, newest first."""
    mine = Feedback.objects.filter(author=user, item__batch__domain=domain, current=True, score__isnull=False)
    return [score for score in mine.order_by("-pk").values_list("score", flat=True)[:most] if score is not None]


def words(written: Draft | Feedback) -> dict[str, Any]:
    """What a form starts with: a draft, or a verdict that is to be revised."""
    if isinstance(written, Draft):
        return {"critique": written.critique, "deliberation": written.deliberation, "score": written.score, "spans": json.dumps(written.spans)}
    spans = list(written.spans.values("start", "end", "quote", "sign", "comment"))
    score = "" if written.score is None else f"{written.score:g}"
    return {"critique": written.critique, "deliberation": written.deliberation, "score": score, "spans": json.dumps(spans)}


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a text between the ends of highlights, and the highlights that cover it ("+", "-" and their numbers, counted from 1)."""

    text: str
    signs: str
    numbers: Sequence[int]  # of the highlights that end here: where a reader looks for their comment


def segments(content: str, spans: Sequence[Span]) -> list[Segment]:
    """The content cut at the ends of its highlights; joined, the texts are the content again."""
    edges = sorted({0, len(content), *(edge for span in spans for edge in (span.start, span.end) if edge <= len(content))})
    found = []
    for start, end in pairwise(edges):
        covering = [span for span in spans if span.start <= start and end <= span.end]
        ending = [number for number, span in enumerate(spans, 1) if span.end == end]
        found.append(Segment(content[start:end], "".join(sorted({span.sign for span in covering})), ending))
    return found


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one judge said of a text. `place` is where the score lies on the domain's scale, 0..100; None for both where there is none."""

    who: str
    score: float | None
    place: float | None
    difference: float | None  # from the reviewer's own score
    words: Sequence[str]


def comparison(mine: Feedback) -> dict[str, Any]:
    """What the proxy and others said of the text that `mine` is about, and where the text came from. Colleagues stay without a name."""
    batch, rollout = mine.item.batch, mine.item.rollout
    low, width = batch.domain.score_min, batch.domain.score_max - batch.domain.score_min

    def opinion(who: str, score: float | None, words: Sequence[str]) -> Opinion:
        difference = None if score is None or mine.score is None else score - mine.score
        return Opinion(who, score, None if score is None else 100 * (score - low) / width, difference, words)

    grades = list(ProxyGrade.objects.filter(rollout=rollout, proxy=batch.proxy).order_by("pk"))
    scored = [grade.score for grade in grades if grade.score is not None]
    opinions = [opinion("You", mine.score, ())]
    if grades:
        traces = "1 trace" if len(grades) == 1 else f"{len(grades)} traces"
        opinions.append(
            opinion(f"The proxy, mean of {traces}", fmean(scored) if scored else None, [grade.critique for grade in grades if grade.critique])
        )
    others = (
        Feedback.objects.filter(item__rollout=rollout, current=True).exclude(author=mine.author_id, author__isnull=False).select_related("expert")
    )
    for row in others.order_by("pk"):
        opinions.append(opinion("A colleague" if row.author_id else row.expert.name, row.score, [row.critique] if row.critique else []))
    return {"opinions": opinions, "rollout": rollout, "why": REASONS.get(batch.strategy, "")}


def queue(user: Any) -> list[Row]:
    """The batches that wait for somebody, those first in which this person can do something."""
    waiting = querysets.batches_for(user=user).select_related("domain")
    rows = describe(user, waiting)
    return sorted(rows, key=lambda row: (row.open_token is None, row.left == 0))


def reached(user: Any) -> list[Budget]:
    """This person's own limits of which nothing is left, or too little for one more verdict."""
    gone = Q(spent__gte=F("limit")) | Q(short__isnull=False)
    return list(Budget.objects.filter(gone, user=user, ended=None, hard=True).select_related("expert"))


def describe(user: Any, batches: Iterable[Batch]) -> list[Row]:
    """A row for each batch, in a fixed number of queries."""
    found = list(batches)
    ids = [batch.pk for batch in found]
    panels = list(Expert.objects.filter(members=user).values_list("pk", flat=True))
    items = Item.objects.filter(batch__in=ids, expert__in=panels).exclude(state=Item.State.CANCELLED).values("batch")
    counts: dict[int, dict[str, Any]] = {
        row["batch"]: dict(row) for row in items.annotate(total=Count("pk"), done=Count("pk", filter=Q(state=Item.State.DONE)))
    }
    left = dict(_takeable(user, ids, panels).values_list("batch").annotate(n=Count("rollout", distinct=True)))
    mine: dict[int, dict[str, Any]] = {row["item__batch"]: dict(row) for row in _written(user, ids)}
    tokens = dict(open_claims(user).filter(item__batch__in=ids).values_list("item__batch", "token"))
    return [
        Row(
            batch,
            counts.get(batch.pk, {}).get("total", 0),
            counts.get(batch.pk, {}).get("done", 0),
            left.get(batch.pk, 0),
            mine.get(batch.pk, {}).get("total", 0),
            mine.get(batch.pk, {}).get("today", 0),
            tokens.get(batch.pk),
        )
        for batch in found
    ]


def open_claims(user: Any) -> QuerySet[Claim]:
    """The text in this person's hands, if there is one. Its lease may have run out: it is theirs until somebody else takes it."""
    return Claim.objects.filter(user=user, ended=None, opened__isnull=False)


def verdicts_today(user: Any) -> int:
    return Feedback.objects.filter(author=user, revision=1, submitted__gte=_midnight()).count()


def _takeable(user: Any, batches: list[int], panels: list[int]) -> QuerySet[Item]:
    """Items of these batches that this person could be handed now; those whose lease ran out count, they are freed in passing."""
    lapsed = Q(state=Item.State.CLAIMED, claims__ended=None, claims__expires__lt=timezone.now())
    waiting = Q(state=Item.State.READY) | lapsed
    free = Item.objects.filter(waiting, ~querysets.used_up(user), batch__in=batches, batch__closed=None, expert__in=panels)
    return querysets.fit_for(user, free).order_by()


def _written(user: Any, batches: list[int]) -> Iterable[Any]:
    rows = Feedback.objects.filter(author=user, current=True, item__batch__in=batches).order_by().values("item__batch")
    return rows.annotate(total=Count("pk"), today=Count("pk", filter=Q(submitted__gte=_midnight())))


def _midnight() -> Any:
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
