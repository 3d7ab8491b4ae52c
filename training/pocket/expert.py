"""The expert of the pocket stories: a program with a hidden rubric that writes a critique, its points and a score.

Eleven criteria can be judged. A rubric gives some of them a weight of 1-9 points, at most 50 in all; the score is twice the points. The trace adds
up as it goes, so that its arithmetic can be checked, and imitated, clause by clause:

    <critique>key kept, tower lost 4, 4. Mia stays 4, 8. ...</critique><deliberation>33 of 50.</deliberation><score>66</score>
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

from grading.errors import ConfigurationError
from grading.types import Case, TraceFormat, Verdict
from training.pocket.language import STAGES, Reading, read_story

MAX_POINTS = 50
NOISE_SD = 1.05  # points, per criterion: gives scores a standard deviation of 4-5 (tests/pocket/test_expert_noise.py measures it)
UNFINISHED = "story breaks off"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a criterion finds: a clause of evidence (at most five words) and how well the story does, 0, 0.5 or 1."""

    evidence: str
    level: float


def _topic(story: Reading, task: Reading) -> Finding:
    """Are the asked object and place the only ones there? A task that names none leaves the topic open."""
    asked = [(task.objects, story.objects), (task.places, story.places)]
    kept = [(wanted[0], found == wanted[:1]) for wanted, found in asked if wanted]
    if not kept:
        return Finding("topic open", 1.0)
    return Finding(", ".join(f"{word} {'kept' if ok else 'lost'}" for word, ok in kept), sum(ok for _, ok in kept) / len(kept))


def _name(story: Reading, task: Reading) -> Finding:
    if not story.names:
        return Finding("nobody named", 0.0)
    if len(story.names) > 1:
        return Finding(f"{story.names[0]} becomes {story.names[1]}", 0.0)
    return Finding(f"{story.names[0]} stays", 1.0)


def _order(story: Reading, task: Reading) -> Finding:
    """All five parts once and in order: every part that is missing, doubled, strange or too early is a slip."""
    stages = [s.stage for s in story.sentences if s.stage != "cliche"]
    places = [STAGES.index(s) for s in stages if s != "other"]
    present = len(set(places))
    slips = (len(STAGES) - present) + (len(stages) - present) + sum(a > b for a, b in pairwise(places))
    return (Finding("order holds", 1.0), Finding("order slips", 0.5))[slips] if slips < 2 else Finding("order fails", 0.0)


def _cause(story: Reading, task: Reading) -> Finding:
    """Do what is tried and what comes of it belong to what went wrong?"""
    kinds = {stage: {s.kind for s in story.sentences if s.stage == stage} for stage in ("problem", "attempt", "result")}
    if len(kinds["problem"]) != 1:
        return Finding("trouble unclear" if kinds["problem"] else "no trouble", 0.0)
    answered = sum(kinds[stage] == kinds["problem"] for stage in ("attempt", "result"))
    (kind,) = kinds["problem"]
    return Finding(f"{kind} {('unsolved', 'half solved', 'solved')[answered]}", answered / 2)


def _ending(story: Reading, task: Reading) -> Finding:
    last = story.sentences[-1] if story.sentences else None
    if last is None or last.stage != "ending":
        return Finding("no ending", 0.0)
    return Finding("ending flat", 0.5) if last.flat else Finding("ending rings", 1.0)


def _freshness(story: Reading, task: Reading) -> Finding:
    return _step(sum(s.cliche for s in story.sentences), (1, 2), ("words fresh", "one cliche", "many cliches"))


def _variety(story: Reading, task: Reading) -> Finding:
    openings = [s.opening for s in story.sentences]
    return _step(len(openings) - len(set(openings)), (1, 2), ("openings vary", "openings repeat", "openings drone"))


def _restraint(story: Reading, task: Reading) -> Finding:
    return _step(story.adjectives, (3, 5), ("prose lean", "prose full", "prose stuffed"))


def _richness(story: Reading, task: Reading) -> Finding:
    low = _step(story.adjectives, (3, 6), ("colors poor", "some color", "colors rich"))
    return Finding(low.evidence, 1.0 - low.level)


def _measure(story: Reading, task: Reading) -> Finding:
    """Is it 32 to 46 words long, or nearly?"""
    n = story.words
    if 32 <= n <= 46:
        return Finding("length right", 1.0)
    if 27 <= n <= 54:
        return Finding("bit short" if n < 32 else "bit long", 0.5)
    return Finding("too short" if n < 27 else "too long", 0.0)


def _length(story: Reading, task: Reading) -> Finding:
    low = _step(story.words, (42, 54), ("brief tale", "middling tale", "long tale"))
    return Finding(low.evidence, 1.0 - low.level)


def _step(count: int, limits: tuple[int, int], evidence: tuple[str, str, str]) -> Finding:
    """Level 1 below the first limit, 0.5 below the second, else 0."""
    i = sum(count >= limit for limit in limits)
    return Finding(evidence[i], 1.0 - i / 2)


CRITERIA: dict[str, Callable[[Reading, Reading], Finding]] = {
    "topic": _topic,
    "name": _name,
    "order": _order,
    "cause": _cause,
    "ending": _ending,
    "freshness": _freshness,
    "variety": _variety,
    "restraint": _restraint,
    "richness": _richness,
    "measure": _measure,
    "length": _length,
}


@dataclass(frozen=True, slots=True)
class Rubric:
    """Criterion -> weight in points, kept in the order of CRITERIA. Weights are whole, 1-9, and sum to 50 at most.

    Raises `ConfigurationError` otherwise.
    """

    weights: Mapping[str, int]

    def __post_init__(self) -> None:
        unknown = set(self.weights) - set(CRITERIA)
        if unknown:
            raise ConfigurationError(f"no such criteria: {', '.join(sorted(unknown))}; there are {', '.join(CRITERIA)}")
        if not self.weights or any(not isinstance(w, int) or isinstance(w, bool) or not 1 <= w <= 9 for w in self.weights.values()):
            raise ConfigurationError("a rubric needs at least one criterion, and each weight is a whole number from 1 to 9")
        if sum(self.weights.values()) > MAX_POINTS:
            raise ConfigurationError(f"the weights sum to {sum(self.weights.values())}, and {MAX_POINTS} is the most there can be")
        object.__setattr__(self, "weights", {c: self.weights[c] for c in CRITERIA if c in self.weights})

    def __str__(self) -> str:
        return ", ".join(f"{c} {w}" for c, w in self.weights.items())


HIDDEN = Rubric({"topic": 9, "name": 3, "order": 5, "cause": 9, "ending": 2, "freshness": 4, "restraint": 9, "measure": 9})
WEAK = Rubric({"topic": 9, "name": 5, "ending": 9, "richness": 9, "length": 9})
RUBRICS = {"hidden": HIDDEN, "weak": WEAK}


@dataclass(frozen=True, slots=True)
class Clause:
    """One criterion's part of a critique: evidence, its points and the running total."""

    evidence: str
    points: int
    total: int

    def __str__(self) -> str:
        return f"{self.evidence} {self.points}, {self.total}."


def clauses(rubric: Rubric, case: Case, rng: random.Random | None = None) -> list[Clause]:
    """What the critique of `case` says, clause by clause; with `rng`, points are jittered within 0..weight. A story that breaks off gets nothing."""
    story, task = read_story(case.content), read_story(case.instructions)
    if not story.finished:
        return [Clause(UNFINISHED, 0, 0)]
    found, total = [], 0
    for criterion, weight in rubric.weights.items():
        finding = CRITERIA[criterion](story, task)
        points = int(weight * finding.level + 0.5)
        if rng is not None:
            points = min(weight, max(0, points + round(rng.gauss(0.0, NOISE_SD))))
        total += points
        found.append(Clause(finding.evidence, points, total))
    return found


def verdict(rubric: Rubric, case: Case, rng: random.Random | None = None) -> Verdict:
    """The whole verdict on `case`; its score is twice the points, so 0..100."""
    found = clauses(rubric, case, rng)
    critique = " ".join(map(str, found))
    deliberation = f"{found[-1].total} of {MAX_POINTS}."
    score = 2 * found[-1].total
    f = TraceFormat()
    parts = zip(f.tags, (critique, deliberation, score), strict=True)
    raw = "".join(f"<{tag}>{text}</{tag}>" for tag, text in parts)
    return Verdict(float(score), critique=critique, deliberation=deliberation, raw=raw)


class PocketExpert:
    """A judge by rule. `rubric` is "hidden", "weak" or weights by criterion; `noise` jitters single points as a person's mood would.

    The same options, seeds and texts give the same verdicts, in whatever order and company the cases come.
    """

    def __init__(self, rubric: str | Mapping[str, int] = "hidden", noise: bool = True, seed: int = 0) -> None:
        if isinstance(rubric, str) and rubric not in RUBRICS:
            raise ConfigurationError(f"no rubric {rubric!r}; there are {', '.join(RUBRICS)}, or give weights by criterion")
        self.rubric = RUBRICS[rubric] if isinstance(rubric, str) else Rubric(rubric)
        self.noise = noise
        self.seed = seed

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        """One verdict per case, in order; any text gets one."""
        return [self.verdict(case, seed=seed) for case in cases]

    def verdict(self, case: Case, *, seed: int = 0) -> Verdict:
        """The verdict on one case; `seed` makes another of the noisy verdicts on it."""
        return verdict(self.rubric, case, self._rng(case, seed) if self.noise else None)

    def _rng(self, case: Case, seed: int) -> random.Random:
        key = "\x1f".join((str(self.rubric), str(self.seed), str(seed), case.instructions, case.content))
        return random.Random(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())
