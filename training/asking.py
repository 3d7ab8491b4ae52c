"""Asking the expert: which rollouts, in which batch, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from annotation import actions as annotation
from annotation import experts, outages, provider, querysets, select
from annotation.models import Batch, Expert, Feedback, ProxyGrade, Rollout
from grading.control import Controlled, controlled_reward
from grading.secrecy import without_secrets
from training import protocol
from training.choices import derive_seed
from training.errors import StageFailed
from training.models import Experiment, Stage
from training.presets import STRATEGIES
from training.progress import Progress

WHY = {
    "initial": "the proxy is realigned for",
    "update": "the proxy is realigned for",
    "validation": "the proxy is realigned for",
    "eval": "it goes on from",
    "check": "it goes on from",
}
MEASURED = ("eval", "check", "validation")  # chosen in order, whatever the strategy
NOTES = {
    "eval": "To measure the policy; nothing is learnt from it.",
    "check": "To see whether the policy still gets better.",
    "validation": "To try grading prompts on; none is written from it.",
}


def ask(experiment: Experiment, stage: protocol.Ask, count: int, *, room: int) -> Batch | None:
    """The batch for `stage`, of `count` rollouts; None when there is nothing to ask for. Asked twice, it is the same batch.

    `room`: how many controls the budget allows besides.
    """
    chosen = choose(experiment, stage, count) if count else []
    if not chosen:
        return None
    measured = stage.purpose in MEASURED
    repeats, golds = experiment.plan.controls(len(chosen), room)
    # Programs and language models are set to work by the queue itself.
    return annotation.select_batch(
        key=f"{experiment.name}/{stage.key}",
        title=f"{experiment.title}: {Batch.Purpose(stage.purpose).label} at step {stage.step}",
        domain=experiment.domain,
        expert=experiment.expert,
        purpose=stage.purpose,
        rollouts=chosen,
        strategy="random" if measured else experiment.plan.strategy,
        seed=derive_seed(experiment.seed, stage.key),
        experiment=experiment.name,
        proxy=experiment.proxies.order_by("-number")[0].digest,
        repeat_share=repeats / len(chosen),
        gold_share=golds / len(chosen),
        note=NOTES.get(stage.purpose, f"Chosen {dict(STRATEGIES)[experiment.plan.strategy]}."),
    )


def wanted(experiment: Experiment, stage: protocol.Ask) -> int:
    """How many rollouts the stage asks about: all that were sampled for it where it names no number."""
    return stage.count or len(sampled(_sample(experiment, stage), stage.purpose))


def choose(experiment: Experiment, stage: protocol.Ask, count: int) -> list[int]:
    """Ids of the `count` rollouts that the expert is asked about."""
    found = [r.pk for r in sampled(_sample(experiment, stage), stage.purpose)]
    if stage.purpose in MEASURED or not stage.count:
        # In whole groups as far as they go: what is measured within a prompt needs its group.
        return found[:count]
    proxy = experiment.proxies.order_by("-number")[0].digest
    return select.choose(experiment.plan.strategy, found, count, derive_seed(experiment.seed, stage.key), proxy)[:count]


def _sample(experiment: Experiment, stage: protocol.Ask) -> Stage:
    return experiment.stages.select_related("job").get(key=stage.sample)


def sampled(sample: Stage, name: str) -> list[Rollout]:
    """What was sampled at the stage `sample` for its request `name`, group by group, in the order of the request's prompts."""
    order = {prompt: i for i, prompt in enumerate(sample.arguments["prompts"][name])}
    rows = Rollout.objects.filter(run=str(sample.job), prompt_id__in=order).select_related("prompt")
    return sorted(rows, key=lambda r: (order[r.prompt_id], r.index))


def traces(rollouts: Iterable[int], run: str = "", proxy: str = "") -> dict[int, list[float | None]]:
    """The scores of the proxy's traces on each rollout, None for an unscored one; of one job and proxy version where these are given."""
    scores: dict[int, list[float | None]] = {rollout: [] for rollout in rollouts}
    rows = ProxyGrade.objects.filter(rollout_id__in=scores, **({"run": run} if run else {}), **({"proxy": proxy} if proxy else {}))
    for rollout, score in rows.order_by("rollout_id", "sample").values_list("rollout_id", "score"):
        scores[rollout].append(score)
    return scores


def raw_traces(rollouts: Iterable[int]) -> dict[int, list[str]]:
    """What the newest proxy version that graded each rollout wrote about it, trace by trace."""
    rows = ProxyGrade.objects.filter(rollout_id__in=rollouts).order_by("rollout_id", "pk").values_list("rollout_id", "proxy", "raw")
    newest = {rollout: proxy for rollout, proxy, _ in rows}
    found: dict[int, list[str]] = {}
    for rollout, proxy, raw in rows:
        if proxy == newest[rollout]:
            found.setdefault(rollout, []).append(raw)
    return found


def outstanding(batch: Batch) -> int:
    """Verdicts that are still to come."""
    return querysets.outstanding(batch).count()


def waiting(experiment: Experiment, stage: protocol.Ask, batch: Batch, coming: int) -> Progress:
    """What is still to come of `batch`, in words."""
    people = querysets.outstanding(batch).filter(expert__kind=Expert.Kind.HUMAN).exists()
    who = "Waiting for experts" if people else f"{experiment.expert.name} is judging"
    verb, why = "is" if coming == 1 else "are", WHY[stage.purpose]
    note = f"{who}: {coming} of {batch.items.filter(control='').count()} verdicts {verb} still to come before {why} step {stage.step}."
    if people and (stuck := querysets.stranded(batch).count()):
        note += f" Everybody on the panel has declined or judged {stuck} of these: add a member to {experiment.expert.name}, or close the batch."
    for words in (outages.words(batch), provider.words(batch)):
        note += f" {words}" if words else ""
    return Progress(note=note, people=people)


def verdicts(batch: Batch) -> list[Feedback]:
    """The verdicts that count, one for each rollout that got one, in the order of the batch."""
    return list(querysets.verdicts(batch).select_related("item__rollout__prompt"))


def outcome(batch: Batch) -> protocol.Outcome:
    """How many verdicts came; the mean score, its standard error and the scores' standard deviation over all scored rollouts, None where unknown."""
    came = verdicts(batch)
    scores = [f.score for f in came if f.score is not None]
    deviation = stdev(scores) if len(scores) > 1 else None
    error = None if deviation is None else deviation / sqrt(len(scores))
    return {"samples": len(came), "mean": fmean(scores) if scores else None, "error": error, "deviation": deviation}


def checked(experiment: Experiment, stage: protocol.Ask, batch: Batch) -> protocol.Outcome:
    """The outcome of a check for which the proxy graded more rollouts than the expert judged: their mean by both, and how many verdicts that saved.

    Which of them the expert judged is as good as drawn at random: they come in the shuffled order of the check's prompts.
    """
    alone, found = outcome(batch), controlled(experiment, stage, batch)
    if found.with_proxy.value is None or found.error is None:
        return alone
    return alone | {"mean": found.with_proxy.value, "error": found.error, "saved": found.saving}


def controlled(experiment: Experiment, stage: protocol.Ask, batch: Batch) -> Controlled:
    """The expert's mean reward at a check, by the verdicts on some rollouts and the proxy's grades of all."""
    sample = _sample(experiment, stage)
    rollouts = sampled(sample, stage.purpose)
    graded = traces([r.pk for r in rollouts], str(sample.job), sample.arguments["graded_by"])
    proxy = [fmean(s) if (s := [score for score in graded[r.pk] if score is not None]) else None for r in rollouts]
    judged = {f.item.rollout_id: f.score for f in verdicts(batch)}
    return controlled_reward([judged.get(r.pk) for r in rollouts], proxy, [r.prompt_id for r in rollouts])


def reward_batch(experiment: Experiment, key: str, title: str, note: str) -> Batch:
    """The batch that the verdicts of a job that asks the expert itself are recorded in, as they come."""
    return annotation.select_batch(
        key=f"{experiment.name}/{key}",
        title=f"{experiment.title}: {title}",
        domain=experiment.domain,
        expert=experiment.expert,
        purpose=Batch.Purpose.REWARD,
        rollouts=[],
        strategy="random",
        seed=experiment.seed,
        experiment=experiment.name,
        note=note,
    )


def judge(experiment: Experiment) -> dict[str, Any]:
    """The expert as what a reward process loads. Raises `StageFailed` where a secret would end up in the job's folder."""
    return fit_for_a_folder(experts.judge_config(experiment.expert), experiment.expert)


def fit_for_a_folder(config: dict[str, Any], expert: Expert) -> dict[str, Any]:
    """`config`, out of the options of `expert`. Raises `StageFailed` where it holds a secret, which a job's folder would show."""
    if without_secrets(config) != config:
        raise StageFailed(
            f"The options of {expert.name} in settings.EXPERTS hold a secret, and a training job would write it into its folder.",
            "Give it in an environment variable instead, then resume.",
        )
    return config
