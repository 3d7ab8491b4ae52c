"""What is measured when a stage ends, from rows alone: asked again, the numbers are the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import fmean

from annotation.models import Batch, Feedback, Prompt
from grading import alignment
from grading.alignment import Estimate
from training import asking, protocol
from training.models import Experiment, Measurement, ProxyVersion, Stage


@dataclass(frozen=True, slots=True)
class Measured:
    """One number, and what it is of."""

    name: str
    estimate: Estimate
    proxy: ProxyVersion | None = None
    when: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of the rollouts of one look at the eval split, one entry each: the prompt, the expert's score (the mean, where several
    verdicts stand), the mean of the proxy's traces.

    `traces` are the single scores, None where a trace had none; `contents` are the texts.
    """

    prompts: list[int]
    expert: list[float | None]
    proxy: list[float | None]
    traces: list[list[float | None]]
    contents: list[str]


def look_at(batch: Batch, run: str = "", digest: str = "") -> Look:
    """The verdicts of an eval or check batch beside the traces that proxy `digest` wrote in job `run`, where there are any."""
    judged: dict[int, list[Feedback]] = {}
    for verdict in asking.verdicts(batch):
        judged.setdefault(verdict.item.rollout_id, []).append(verdict)
    traces = asking.traces(judged, run, digest) if digest else {}
    own = [traces.get(pk, []) for pk in judged]
    expert = [_mean([verdict.score for verdict in verdicts]) for verdicts in judged.values()]
    rollouts = [verdicts[0].item.rollout for verdicts in judged.values()]
    return Look([r.prompt_id for r in rollouts], expert, [_mean(t) for t in own], own, [r.content for r in rollouts])


def _mean(scores: list[float | None]) -> float | None:
    scored = [score for score in scores if score is not None]
    return fmean(scored) if scored else None


def of(experiment: Experiment, row: Stage, stage: protocol.Stage) -> list[Measured]:
    """What the end of this stage lets one measure: policy and proxy at a look, the new proxy after a realignment."""
    match stage:
        case protocol.Sample():
            return list(_of_sample(row, stage))
        case protocol.Ask():
            return list(_of_verdicts(experiment, row, stage))
        case protocol.Grade():
            return list(_of_regrades(experiment, row, stage))
    return []


def _of_sample(row: Stage, stage: protocol.Sample) -> Iterator[Measured]:
    """How far the policy has moved, and how many of its texts differ: of the eval split where that is sampled."""
    assert row.job is not None
    if (kl := row.job.result.get("kl")) is not None:
        yield Measured("kl", Estimate(kl, samples=row.job.result["rollouts"]))
    looked_at = [r.purpose for r in stage.requests if r.split == Prompt.Split.EVAL] or [
        r.purpose for r in stage.requests if stage.key.startswith("sample-")
    ]
    contents = [rollout.content for purpose in looked_at for rollout in asking.sampled(row, purpose)]
    if contents:
        yield Measured("unique_rate", Estimate(unique_share(contents), samples=len(contents)))


def _of_verdicts(experiment: Experiment, row: Stage, stage: protocol.Ask) -> Iterator[Measured]:
    if row.batch is None or stage.purpose not in ("eval", "check"):
        return
    sample = experiment.stages.select_related("job").get(key=stage.sample)
    proxy = experiment.proxies.get(digest=sample.arguments["graded_by"])
    look = look_at(row.batch, str(sample.job), proxy.digest)
    if any(r["purpose"] == stage.purpose and r["split"] == Prompt.Split.EVAL for r in sample.arguments["requests"]):
        yield Measured("expert_reward", expert_reward(look))
        yield from _of_proxy(look, proxy, "before")
    elif experiment.plan.check_graded > experiment.plan.check:
        found = asking.controlled(experiment, stage, row.batch)
        saved = "" if found.needed is None else f"with the proxy's grades; verdicts alone would take {found.needed:.0f}"
        yield Measured("check_reward", replace(found.with_proxy, note=alignment.joined(saved, found.with_proxy.note)))
    else:
        yield Measured("check_reward", expert_reward(look))


def _of_regrades(experiment: Experiment, row: Stage, stage: protocol.Grade) -> Iterator[Measured]:
    asked = experiment.stages.select_related("batch").get(key=f"ask-eval-{stage.step}")
    if asked.batch is not None:
        proxy = experiment.proxies.get(number=stage.number)
        sample = experiment.stages.select_related("job").get(key=f"sample-{stage.step}")
        before, after = look_at(asked.batch, str(sample.job), sample.arguments["graded_by"]), look_at(asked.batch, str(row.job), proxy.digest)
        yield from _of_proxy(after, proxy, "after")
        yield Measured("alignment_change", realigned(before, after), proxy)


def expert_reward(look: Look) -> Estimate:
    return alignment.mean_reward(look.expert, look.prompts)


def agreement(look: Look) -> dict[str, Estimate]:
    """How the proxy's scores go with the expert's, by name."""
    return {
        "alignment": alignment.alignment(look.expert, look.proxy, look.prompts),
        "raw_correlation": alignment.raw_correlation(look.expert, look.proxy, look.prompts),
        "predicted_gain": alignment.predicted_gain(look.expert, look.proxy, look.prompts),
    }


def realigned(before: Look, after: Look) -> Estimate:
    """How much better the realigned proxy agrees with the expert than the one before it did, on the same rollouts."""
    return alignment.alignment_change(before.expert, before.proxy, after.proxy, before.prompts)


def proxy_reward(look: Look) -> Estimate:
    return alignment.mean_reward(look.proxy, look.prompts)


def unscored_rate(look: Look) -> Estimate:
    """The share of the proxy's traces without a score, 0..1."""
    flags = [(float(score is None), prompt) for prompt, traces in zip(look.prompts, look.traces, strict=True) for score in traces]
    return alignment.mean_reward([flag for flag, _ in flags], [prompt for _, prompt in flags])


def unique_share(contents: list[str]) -> float | None:
    """The share of different texts among all, 0..1."""
    return len(set(contents)) / len(contents) if contents else None


def _of_proxy(look: Look, proxy: ProxyVersion, when: str) -> Iterator[Measured]:
    if any(look.traces):
        estimates = {"proxy_reward": proxy_reward(look), **agreement(look), "unscored_rate": unscored_rate(look)}
        yield from (Measured(name, estimate, proxy, when) for name, estimate in estimates.items())


def store(row: Stage, measured: list[Measured]) -> None:
    """Write the numbers as rows of the stage; those that are there already stay."""
    step = row.arguments["step"] if "step" in row.arguments else row.arguments["stop"]
    rows = [
        Measurement(
            experiment_id=row.experiment_id,
            stage=row,
            name=m.name,
            step=step,
            proxy=m.proxy,
            when=m.when,
            value=m.estimate.value,
            low=m.estimate.low,
            high=m.estimate.high,
            samples=m.estimate.samples,
            left_out=m.estimate.left_out,
            note=m.estimate.note[:200],
        )
        for m in measured
    ]
    Measurement.objects.bulk_create(rows, ignore_conflicts=True)
