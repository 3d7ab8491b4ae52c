"""What the statistics of a suite need of one experiment, read from its rows once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from django.core.cache import cache
from django.db.models import Max

from training import budget
from training.history import NOTHING, History, Seen
from training.models import Experiment

Sample = tuple[list[float | None], list[Hashable]]
INHERITED = "inherited"  # what a proxy that was taken over from another experiment had been taught there
TAUGHT, CHECKED, REWARDED = ("initial", "update", INHERITED), ("check", "validation"), ("reward",)


@dataclass(frozen=True, slots=True)
class Run:
    """One experiment of a suite with its looks; `stands` is the number of the look that it is judged by.

    `samples` are expert samples by purpose, `unscored` the proxies' traces without a score and all of them, `minutes` from start to end.
    """

    pk: int
    name: str
    base: str
    seed: int
    steps: int
    samples: dict[str, int]
    looks: list[Seen]
    stands: int
    unscored: tuple[int, int]
    minutes: float | None

    def of_purposes(self, purposes: tuple[str, ...]) -> int:
        return sum(self.samples.get(purpose, 0) for purpose in purposes)

    @property
    def training_samples(self) -> int:
        """Expert samples that taught, checked or rewarded: what the method cost. Those of eval looks only measure it."""
        return self.of_purposes(TAUGHT + CHECKED + REWARDED)


def expert_of(look: Seen) -> Sample:
    return look.before.expert, list(look.before.prompts)


def stands_for(history: History) -> int:
    """Number of the judged look whose checkpoint the experiment stands for, by what its protocol said in the end (`protocol.Finish`).

    The last one where looks come at fixed intervals; that before the fall of expert reward where a protocol watches for it (paper, section 2.3).
    """
    looks = history.judged
    best_step = history.experiment.best_step
    # What ended before that was kept has none.
    return max((i for i, look in enumerate(looks) if best_step is None or look.step <= best_step), default=0)


def run_of(experiment: Experiment) -> Run | None:
    """None where it has not ended as it should, or was never looked at. What is done never changes, so it is read once."""
    if experiment.state != Experiment.State.DONE:
        return None
    key = f"suite-run-{experiment.pk}-{experiment.measurements.aggregate(newest=Max('id'))['newest']}"
    found: Run | None = cache.get(key)
    if found is None and (found := _read(experiment)) is not None:
        cache.set(key, found, 24 * 3600)
    return found


def _read(experiment: Experiment) -> Run | None:
    history = History.of(experiment)
    if not history.judged:
        return None
    traces = [trace for seen in history.judged for look in (seen.before, seen.after or NOTHING) for traces in look.traces for trace in traces]
    taken = (experiment.ended - experiment.started).total_seconds() / 60 if experiment.started and experiment.ended else None
    return Run(
        pk=experiment.pk,
        name=experiment.name,
        base=experiment.base,
        seed=experiment.seed,
        steps=history.steps,
        samples=budget.spent(experiment) | _inherited(experiment),
        looks=[_bare(seen) for seen in history.judged],
        stands=stands_for(history),
        unscored=(sum(trace is None for trace in traces), len(traces)),
        minutes=taken,
    )


def _inherited(experiment: Experiment) -> dict[str, int]:
    """The verdicts that the proxy which it started with had learnt from, through all its versions."""
    version, verdicts = experiment.proxy_version, set[int]()
    while version is not None:
        verdicts.update(version.feedback.values_list("pk", flat=True))
        version = version.parent
    return {INHERITED: len(verdicts)} if verdicts else {}


def _bare(seen: Seen) -> Seen:
    """Without the texts and the single traces, which nothing here needs and caches would hold."""
    before, after = (look and replace(look, contents=[], traces=[]) for look in (seen.before, seen.after))
    assert before is not None
    return replace(seen, before=before, after=after)
