"""How steady, how exact and how quick those are who give verdicts, read from the rows. Writes nothing.

A rater is a person, or, where nobody is named, the expert: people, language models and programs stand on one scale. Measures rest on first
revisions with a score that were written before comparing with others. What RL on expert reward recorded is no part of them: nobody was asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, quantiles, stdev
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db.models import Count, Max, Q, QuerySet

from annotation.models import Batch, Claim, Domain, Expert, Feedback, Gold
from grading import agreement
from grading.alignment import Estimate

MOST = 5_000  # verdicts of people, and as many of programs, that a table rests on: the latest
NOISE_MOST = 1_000  # verdicts that the review page looks at on every load
FEWEST_REPEATS = 5  # texts judged twice without which a spread says nothing
REPLICATES = 500  # of the intervals: these are pages, not results

Rater = tuple[str, int]  # ("person", the user's id) or ("expert", the expert's id)


class Row(NamedTuple):
    """One first revision."""

    rater: Rater
    domain: int
    item: int
    rollout: int
    score: float | None
    assisted: bool
    started: datetime
    submitted: datetime

    @property
    def measures(self) -> bool:
        return self.score is not None and not self.assisted


class Reference(NamedTuple):
    """A score that is known, and since when: who judged the text before may have been asked for it."""

    score: float
    since: datetime


@dataclass(frozen=True, slots=True)
class Share:
    count: int
    total: int

    @property
    def value(self) -> float | None:
        return self.count / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class Measures:
    """One rater in one domain. Scores, spread, bias and error are in points of the domain's scale, times in seconds."""

    rater: Rater
    name: str
    kind: str  # of Expert.Kind
    verdicts: int
    last: datetime
    seconds: tuple[float, float, float] | None  # quartiles of the time on a text; None for programs
    assisted: Share
    declined: Share
    texts: float | None  # standard deviation of the scores of different texts: what a spread is held against
    spread: Estimate  # of verdicts on the same text
    bias: Estimate  # score - gold
    error: Estimate  # |score - gold|
    drift: Estimate
    alpha: Estimate
    icc: Estimate

    @property
    def is_person(self) -> bool:
        return self.rater[0] == "person"

    @property
    def repeats_missing(self) -> int:
        """Texts that have to be judged twice yet before the spread says something."""
        return max(0, FEWEST_REPEATS - self.spread.samples)


@dataclass(frozen=True, slots=True)
class Table:
    """All raters of a domain."""

    raters: list[Measures]
    alpha: Estimate
    icc: Estimate
    capped: bool  # there are more verdicts than it rests on

    @property
    def too_few(self) -> list[str]:
        return [rater.name for rater in self.raters if rater.repeats_missing]


def noise(user: Any, domain: Domain) -> float | None:
    """Spread of this person's repeated verdicts in the domain, in score points; None where fewer than 5 texts were repeated.

    Of finished batches alone, as in `own`: a number that moves right after a verdict would tell that this one was a repeat.
    """
    rows = _finished(_first_revisions().filter(author=user, item__batch__domain=domain, score__isnull=False, assisted=False))
    pairs = rows.order_by("-pk").values_list("item", "item__rollout", "score")[:NOISE_MOST]
    latest_last = {item: (rollout, score) for item, rollout, score in pairs}  # an item that was judged twice: the earlier one stays
    spread = agreement.repeat_spread(latest_last.values(), replicates=0)
    return spread.value if spread.samples >= FEWEST_REPEATS else None


def domains() -> list[Domain]:
    """Those in which somebody has judged something, the one that was judged last at first."""
    judged = _first_revisions().values("item__batch__domain").order_by().annotate(last=Max("pk"))
    order = {row["item__batch__domain"]: row["last"] for row in judged}
    return sorted(Domain.objects.filter(pk__in=order), key=lambda domain: -order[domain.pk])


def table(domain: Domain) -> Table:
    """Everybody who judged in the domain, people first. A fixed number of queries."""
    found = _first_revisions().filter(item__batch__domain=domain)
    people, more_people = _latest(found.filter(author__isnull=False))
    programs, more_programs = _latest(found.filter(author=None))
    rows = sorted([*people, *programs], key=lambda row: row.submitted)
    gold = _gold(Q(rollout__prompt__domain=domain))
    claims = Claim.objects.filter(item__batch__domain=domain)
    if more_people or more_programs:
        claims = claims.filter(ended__gte=rows[0].submitted)
    declined = _declined(claims)
    names, ratings = _names({row.rater for row in rows}), _ratings(rows)
    by_rater = _by(rows, lambda row: row.rater)
    raters = [
        _measures(rater, *names[rater], own, ratings=ratings, gold=gold, declined=declined.get((domain.pk, rater), 0))
        for rater, own in by_rater.items()
    ]
    raters.sort(key=lambda measures: (not measures.is_person, -measures.verdicts, measures.name))
    return Table(raters, *_agreement(ratings, None), more_people or more_programs)


def own(user: Any) -> list[tuple[Domain, Measures]]:
    """The domains in which this person has judged, each with their measures. A fixed number of queries.

    Only finished batches count. A number that moves right after a verdict would tell which text was a control.
    """
    rater = ("person", user.pk)
    mine, _ = _latest(_finished(_first_revisions().filter(author=user)))
    if not mine:
        return []
    rollouts = {row.rollout for row in mine}
    others, _ = _latest(_first_revisions().filter(item__rollout__in=rollouts).filter(Q(author=None) | ~Q(author=user)))
    gold = _gold(Q(rollout__in=rollouts))
    since = min(row.submitted for row in mine)
    declined = _declined(Claim.objects.filter(user=user, ended__gte=since, item__batch__closed__isnull=False))
    by_domain = _by(mine, lambda row: row.domain)
    known = Domain.objects.in_bulk(list(by_domain))
    ratings = _ratings(sorted([*mine, *others], key=lambda row: row.submitted))
    found = []
    for pk, rows in by_domain.items():
        measures = _measures(rater, user.get_username(), Expert.Kind.HUMAN, rows, ratings=ratings, gold=gold, declined=declined.get((pk, rater), 0))
        found.append((known[pk], measures))
    return sorted(found, key=lambda pair: pair[1].last, reverse=True)


def spreads(expert: Expert) -> list[tuple[Domain, Estimate]]:
    """How far an expert's verdicts on the same text lie apart, by domain, in points of its scale; [] where no text was judged twice.

    Of a panel it is the spread between its members too: whoever of them judges a text is the panel's verdict on it. So only what was asked to
    measure that counts there (purpose `calibration`); of programs and language models all that stands in `table`.
    """
    found = _first_revisions().filter(expert=expert)
    if expert.kind == Expert.Kind.HUMAN:
        found = found.filter(item__batch__purpose=Batch.Purpose.CALIBRATION)
    rows, _ = _latest(found)
    by_domain = _by([row for row in rows if row.measures], lambda row: row.domain)
    known = Domain.objects.in_bulk(list(by_domain))
    pairs = [(known[pk], agreement.repeat_spread([(row.rollout, row.score) for row in own], replicates=REPLICATES)) for pk, own in by_domain.items()]
    return sorted((pair for pair in pairs if pair[1].samples), key=lambda pair: pair[0].name)


def waiting(user: Any) -> int:
    """Verdicts of this person that count once their batch is finished."""
    return _first_revisions().filter(author=user, item__batch__closed=None).count()


def _first_revisions() -> QuerySet[Feedback]:
    return Feedback.objects.filter(revision=1).exclude(item__batch__purpose=Batch.Purpose.REWARD)


def _finished(rows: QuerySet[Feedback]) -> QuerySet[Feedback]:
    return rows.filter(item__batch__closed__isnull=False)


def _latest(rows: QuerySet[Feedback]) -> tuple[list[Row], bool]:
    """The latest MOST, the earliest of them first, and whether there are more. Of several verdicts of a rater on one item the first counts."""
    fields = ("author", "expert", "item__batch__domain", "item", "item__rollout", "score", "assisted", "started", "submitted")
    found = list(rows.order_by("-pk").values_list(*fields)[: MOST + 1])
    once: dict[tuple[Rater, int], Row] = {}
    for author, expert, *rest in reversed(found[:MOST]):
        row = Row(("expert", expert) if author is None else ("person", author), *rest)
        once.setdefault((row.rater, row.item), row)
    return list(once.values()), len(found) > MOST


def _gold(which: Q) -> dict[int, Reference]:
    return {rollout: Reference(score, since) for rollout, score, since in Gold.objects.filter(which).values_list("rollout", "score", "created")}


def _declined(claims: QuerySet[Claim]) -> dict[tuple[int, Rater], int]:
    """How many items each rater declined, by domain and rater."""
    rows = claims.filter(outcome=Claim.Outcome.DECLINED).order_by().values_list("item__batch__domain", "user", "item__expert")
    found: dict[tuple[int, Rater], int] = defaultdict(int)
    for domain, user, expert, n in rows.annotate(n=Count("pk")):
        found[domain, ("expert", expert) if user is None else ("person", user)] += n
    return found


def _names(raters: Iterable[Rater]) -> dict[Rater, tuple[str, str]]:
    """Name and kind of each."""
    people = get_user_model().objects.in_bulk([pk for kind, pk in raters if kind == "person"])
    experts = Expert.objects.in_bulk([pk for kind, pk in raters if kind == "expert"])
    found: dict[Rater, tuple[str, str]] = {("person", pk): (user.get_username(), Expert.Kind.HUMAN) for pk, user in people.items()}
    return found | {("expert", pk): (expert.name, expert.kind) for pk, expert in experts.items()}


Ratings = Mapping[int, Mapping[Rater, float]]  # by rollout, the first score of each rater


def _ratings(rows: Iterable[Row]) -> Ratings:
    found: dict[int, dict[Rater, float]] = defaultdict(dict)
    for row in rows:
        if row.score is not None and row.measures:
            found[row.rollout].setdefault(row.rater, row.score)
    return found


def _agreement(ratings: Ratings, units: Iterable[int] | None) -> tuple[Estimate, Estimate]:
    """Krippendorff's alpha and ICC over `units` (None: all rollouts)."""
    asked = ratings.keys() if units is None else units
    rows = [(unit, rater, score) for unit in asked for rater, score in ratings.get(unit, {}).items()]
    return agreement.krippendorff_alpha(rows, replicates=REPLICATES), agreement.icc(rows, replicates=REPLICATES)


def _measures(rater: Rater, name: str, kind: str, rows: Sequence[Row], *, ratings: Ratings, gold: Mapping[int, Reference], declined: int) -> Measures:
    """`rows` are all of this rater's in the domain, the earliest first."""
    scored = [(number, row) for number, row in enumerate(rows, 1) if row.measures]
    from_gold = [_from_gold(row, gold) for _, row in scored]
    deviations = [
        known if known is not None else _from_others(row, ratings.get(row.rollout, {})) for known, (_, row) in zip(from_gold, scored, strict=True)
    ]
    known = [deviation for deviation in from_gold if deviation is not None]
    units = dict.fromkeys(row.rollout for _, row in scored)
    first = [ratings[unit][rater] for unit in units]
    alpha, icc = _agreement(ratings, units)
    return Measures(
        rater=rater,
        name=name,
        kind=kind,
        verdicts=len(rows),
        last=rows[-1].submitted,
        seconds=_quartiles([(row.submitted - row.started).total_seconds() for row in rows]) if rater[0] == "person" else None,
        assisted=Share(sum(row.assisted for row in rows), len(rows)),
        declined=Share(declined, declined + len(rows)),
        texts=stdev(first) if len(first) > 1 else None,
        spread=agreement.repeat_spread([(row.rollout, row.score) for _, row in scored], replicates=REPLICATES),
        bias=agreement.bias(known),
        error=agreement.bias([abs(deviation) for deviation in known]),
        drift=agreement.drift([number for number, _ in scored], deviations),
        alpha=alpha,
        icc=icc,
    )


def _from_gold(row: Row, gold: Mapping[int, Reference]) -> float | None:
    reference = gold.get(row.rollout)
    return row.score - reference.score if reference and row.score is not None and row.submitted >= reference.since else None


def _from_others(row: Row, scores: Mapping[Rater, float]) -> float | None:
    others = [score for rater, score in scores.items() if rater != row.rater]
    return row.score - fmean(others) if others and row.score is not None else None


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _by(rows: Iterable[Row], key: Any) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return found
