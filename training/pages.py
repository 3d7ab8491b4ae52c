"""What the experiment pages show, read from the rows. Writes nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from django.core.cache import cache
from django.db.models import Avg, Count, Exists, Max, OuterRef, Q, QuerySet, Sum

from annotation.models import AuditEntry, Batch, Charge, Expert, Feedback, Item, ProxyGrade, Rollout
from grading.alignment import Estimate
from training import jobs, lineage, protocol, report, signs
from training.budget import spent
from training.models import Experiment, Job, Measurement, ProxyVersion, StepMetric
from training.runner import outcomes

JOB_WORDS = {
    "sample": "Sampling rollouts",
    "rl": "RL on the policy",
    "distil": "Distilling the proxy",
    "scalar": "Teaching the proxy scores",
    "rewrite": "The proxy writes traces of its own",
    "search": "Trying grading prompts",
    "optimise": "Improving the prompt",
    "grade": "Grading by the proxy",
}
JOB_UNITS = {
    "sample": "rollouts",
    "rl": "RL steps",
    "distil": "training steps",
    "scalar": "training steps",
    "rewrite": "texts",
    "search": "gradings",
    "optimise": "verdicts",
    "grade": "rollouts",
}
METHODS = {"baseline": "the domain's grading prompt, untaught", **dict(protocol.CHOICES)}


@dataclass(slots=True)
class Round:
    """What was measured at one step of the policy. Alignment is that of the proxy before and after the realignment there.

    `fallen`: a check showed that expert reward had fallen; `back`: the earlier step whose checkpoint RL went on from.
    """

    step: int
    measured: dict[str, Measurement] = field(default_factory=dict)
    learnt: int = 0
    proxy: ProxyVersion | None = None  # made here
    fallen: bool = False
    back: int | None = None


def rounds(experiment: Experiment) -> list[Round]:
    """One per step at which something was measured or learnt, in order."""
    found: dict[int, Round] = {}
    for measured in experiment.measurements.order_by("id"):
        at = found.setdefault(measured.step, Round(measured.step))
        name = f"{measured.name}_after" if measured.when == "after" else measured.name
        at.measured[name] = measured
    for proxy in proxies(experiment):
        if proxy.number > 1:
            at = found.setdefault(proxy.step, Round(proxy.step))
            at.proxy, at.learnt = proxy, proxy.learnt  # type: ignore[attr-defined]
    for step in falls(experiment):
        found.setdefault(step, Round(step)).fallen = True
    for row in lineage.roll_backs(experiment):
        found.setdefault(row["after"], Round(row["after"])).back = row["back_to"]
    return [found[step] for step in sorted(found)]


def signs_of(experiment: Experiment) -> list[str]:
    """Cheap signs of over-optimisation; see `training.signs`."""
    steps = [{"step": metric.step, **metric.data} for metric in experiment.step_metrics.order_by("step")]
    kl = [(row.step, row.value) for row in experiment.measurements.filter(name="kl").order_by("step") if row.value is not None]
    return signs.signs(steps, kl)


def falls(experiment: Experiment) -> list[int]:
    """The steps at which the protocol found that expert reward had fallen."""
    try:
        return protocol.falls(experiment.plan, outcomes(experiment))
    except ValueError:  # of a run whose protocol went other ways then: what is known of it is shown all the same
        return []


def proxies(experiment: Experiment) -> QuerySet[ProxyVersion]:
    """The versions, each with `learnt`: how many verdicts it was made from."""
    return experiment.proxies.annotate(learnt=Count("feedback")).select_related("parent")


def versions(experiment: Experiment) -> list[dict[str, Any]]:
    """A row of the table of versions each: the version, how it was made, and the search that made it, with `prompts`, how many it tried."""
    searches = experiment.stages.filter(kind="search", ended__isnull=False)
    by_number = {s.arguments["number"]: s for s in searches.annotate(prompts=Count("candidates", filter=Q(candidates__number__gt=0)))}
    return [{"proxy": proxy, "how": METHODS.get(proxy.method, proxy.method), "search": by_number.get(proxy.number)} for proxy in proxies(experiment)]


def alignment(experiment: Experiment) -> Measurement | None:
    """The newest alignment that is known of the newest proxy that has one."""
    return (
        experiment.measurements.filter(name="alignment", value__isnull=False)
        .select_related("proxy")
        .order_by("-proxy__number", "-step", "-id")
        .first()
    )


def recovered(experiment: Experiment) -> Estimate:
    """PGR as `training.report` computes it, against the domain's latest ceiling."""
    # A bootstrap takes too long for every refresh, and its result changes only when something was measured.
    newest = Measurement.objects.filter(experiment__domain=experiment.domain_id).aggregate(newest=Max("id"))["newest"]
    key = f"recovered-{experiment.pk}-{experiment.state}-{newest}"
    found = cache.get(key)
    if found is None:
        found = asdict(report.recovered(experiment))
        cache.set(key, found, 3600)
    return Estimate(**found)


def unscored(experiment: Experiment) -> tuple[float | None, int]:
    """Share of unscored traces among the proxies' grades so far, and of how many."""
    grades = ProxyGrade.objects.filter(run__in=runs(experiment))
    counts = grades.aggregate(total=Count("pk"), bad=Count("pk", filter=Q(score=None)))
    return (counts["bad"] / counts["total"] if counts["total"] else None), counts["total"]


def samples(experiment: Experiment) -> dict[str, Any]:
    """Expert samples: in all, the budget, and by purpose in the words of the pages."""
    by_purpose = spent(experiment)
    words = dict(Batch.Purpose.choices)
    order = list(words)
    parts = [{"purpose": words[key], "count": n} for key, n in sorted(by_purpose.items(), key=lambda pair: order.index(pair[0]))]
    return {"total": sum(by_purpose.values()), "budget": experiment.sample_budget, "parts": parts}


def cost(experiment: Experiment) -> dict[str, Any]:
    """What its verdicts cost so far: dollars, and seconds of people; None where nothing was charged."""
    found = Charge.objects.filter(experiment=experiment.name).aggregate(money=Sum("money"), minutes=Sum("minutes"))
    return {"money": found["money"], "seconds": float(found["minutes"] or 0) * 60}


def waiting_batches(experiment: Experiment) -> QuerySet[Batch]:
    """Open batches that people have to answer, with `total` and `done` items; controls are not waited for."""
    people = Expert.objects.filter(asked_in=OuterRef("pk"), kind=Expert.Kind.HUMAN)
    asked = Batch.objects.filter(Exists(people), experiment=experiment.name, closed=None)
    live = Q(items__control="") & ~Q(items__state=Item.State.CANCELLED)
    return asked.annotate(total=Count("items", filter=live), done=Count("items", filter=live & Q(items__state=Item.State.DONE)))


def chart(experiment: Experiment) -> dict[str, Any]:
    """Columns for the chart over RL steps: expert and proxy reward on the eval split with 95% bounds, checks, reward in training; and the marks."""
    measured: dict[str, dict[int, Measurement]] = defaultdict(dict)
    shown = ["expert_reward", "proxy_reward", "check_reward"]
    for row in experiment.measurements.filter(name__in=shown).exclude(when="after").order_by("id"):
        measured[row.name][row.step] = row
    training = {metric.step: metric.data.get("reward") for metric in StepMetric.objects.filter(experiment=experiment)}
    steps = sorted({*training, *(step for rows in measured.values() for step in rows)})

    def column(name: str, part: str) -> list[float | None]:
        return [getattr(measured[name].get(step), part, None) for step in steps]

    return {
        "steps": steps,
        "expert": column("expert_reward", "value"),
        "expert_low": column("expert_reward", "low"),
        "expert_high": column("expert_reward", "high"),
        "proxy": column("proxy_reward", "value"),
        "check": column("check_reward", "value"),
        "training": [training.get(step) for step in steps],
        "training_by": "expert" if experiment.plan.protocol == "ceiling" else "proxy",
        "range": [experiment.domain.score_min, experiment.domain.score_max],
        "last": experiment.plan.steps,
        "realigned": [{"step": proxy.step, "label": f"v{proxy.number}"} for proxy in experiment.proxies.filter(number__gt=1)],
        "backs": [{"step": row["after"], "label": f"back to {row['back_to']}"} for row in lineage.roll_backs(experiment)],
    }


@dataclass(frozen=True, slots=True)
class JobRow:
    job: Job
    log: str

    @property
    def words(self) -> str:
        return JOB_WORDS[self.job.kind]

    @property
    def units(self) -> str:
        return JOB_UNITS[self.job.kind]

    @property
    def done(self) -> int:
        return self.job.progress.get("done", 0)

    @property
    def total(self) -> int:
        return self.job.progress.get("total", 0)

    @property
    def seconds(self) -> float | None:
        """From the first start to the end; None while it has not ended."""
        job = self.job
        return (job.ended - job.started).total_seconds() if job.started and job.ended else None

    @property
    def advice(self) -> str:
        return self.job.result.get("advice", "")


def job_rows(experiment: Experiment) -> list[JobRow]:
    """All jobs, the newest first; the log's tail of those that failed."""
    return [JobRow(job, jobs.log_tail(job) if job.state == Job.State.FAILED else "") for job in experiment.jobs.order_by("-id")]


def history(experiment: Experiment, limit: int = 30) -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(target=f"experiment:{experiment.name}").select_related("actor")[:limit]


def runs(experiment: Experiment) -> list[str]:
    """Names under which the experiment's jobs recorded rollouts and grades."""
    return [f"{experiment.name}/{key}" for key in experiment.jobs.values_list("key", flat=True)]


def rollouts(experiment: Experiment, step: int | None = None, purpose: str = "") -> QuerySet[Rollout]:
    """The experiment's rollouts, newest step first, with `expert_score` and `proxy_score` (mean over traces).

    `purpose` is one of a batch, or "training" for those that no expert was asked about.
    """
    found = Rollout.objects.filter(run__in=runs(experiment)).select_related("prompt")
    if step is not None:
        found = found.filter(step=step)
    asked = Item.objects.filter(rollout=OuterRef("pk"), batch__experiment=experiment.name)
    if purpose == "training":
        found = found.filter(~Exists(asked))
    elif purpose:
        found = found.filter(Exists(asked.filter(batch__purpose=purpose)))
    return found.order_by("-step", "prompt_id", "index")


def with_scores(experiment: Experiment, page: list[Rollout]) -> list[dict[str, Any]]:
    """The rollouts of one page with the expert's score (None: unscored) and the mean of the proxies' traces."""
    ids = [rollout.pk for rollout in page]
    verdicts = Feedback.objects.filter(item__rollout__in=ids, item__batch__experiment=experiment.name, current=True, counted=True)
    expert = {row.item.rollout_id: row for row in verdicts.select_related("item", "item__batch")}
    grades = ProxyGrade.objects.filter(rollout__in=ids, run__in=runs(experiment)).order_by().values("rollout")
    proxy = {row["rollout"]: row["mean"] for row in grades.annotate(mean=Avg("score"))}
    return [{"rollout": rollout, "verdict": expert.get(rollout.pk), "proxy": proxy.get(rollout.pk)} for rollout in page]


def traces(experiment: Experiment, rollout: Rollout) -> list[dict[str, Any]]:
    """The proxies' grades on one rollout: for each version its number, mean score and single traces."""
    numbers = {proxy.digest: proxy for proxy in experiment.proxies.order_by("-number")}
    grouped: dict[str, list[ProxyGrade]] = defaultdict(list)
    for grade in rollout.proxy_grades.filter(run__in=runs(experiment)):
        grouped[grade.proxy].append(grade)
    rows = []
    for digest, grades in grouped.items():
        scores = [grade.score for grade in grades if grade.score is not None]
        rows.append({"proxy": numbers.get(digest), "grades": grades, "mean": sum(scores) / len(scores) if scores else None})
    return sorted(rows, key=lambda row: row["proxy"].number if row["proxy"] else 0)


def verdicts(experiment: Experiment, rollout: Rollout) -> QuerySet[Feedback]:
    """What experts said of one rollout in this experiment; corrections and extra verdicts too."""
    found = Feedback.objects.filter(item__rollout=rollout, item__batch__experiment=experiment.name)
    return found.select_related("expert", "author", "item__batch").order_by("id")


def last_reward(experiment: Experiment) -> Measurement | None:
    """The newest expert reward on the eval split."""
    return experiment.measurements.filter(name="expert_reward", value__isnull=False).order_by("-step", "-id").first()
