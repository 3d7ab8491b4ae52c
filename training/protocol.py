"""The protocols: what an experiment does next, given what it has done. No ORM, no clock, no torch.

A protocol is a generator. It yields stages and is sent the outcome of each; an experiment that goes on after a day or a crash
replays the outcomes it has and stands where it stood. So a protocol must depend on its plan and on the outcomes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from training.presets import Plan

CHOICES = [
    ("full-trace", "full-trace distillation"),
    ("ceiling", "ceiling: RL on expert reward"),
    ("weak-proxy", "weak proxy with checks"),
]


@dataclass(frozen=True, slots=True)
class Request:
    """Rollouts wanted: `prompts` of a split, `per_prompt` of each, with `grades` proxy traces on every one."""

    purpose: str
    split: str
    prompts: int
    per_prompt: int
    grades: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Sample rollouts from the checkpoint at `step`."""

    key: str
    step: int
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """Have the expert judge `count` of the rollouts sampled at `step` for `purpose`; wait for the verdicts.

    Outcome: samples (verdicts that came), mean and error (expert reward and its standard error; None where there is none).
    """

    key: str
    step: int
    purpose: str
    count: int


@dataclass(frozen=True, slots=True)
class Realign:
    """Make proxy version `number` from the feedback so far.

    `count` of the newest verdicts are learnt from (fewer than were asked for under max-disagreement), with `replay` earlier ones,
    in `epochs` passes.
    """

    key: str
    step: int
    number: int
    count: int
    epochs: int
    replay: int


@dataclass(frozen=True, slots=True)
class Grade:
    """Grade the evaluation rollouts of `step` again with proxy `number`: alignment after a realignment."""

    key: str
    step: int
    number: int


@dataclass(frozen=True, slots=True)
class Train:
    """RL from step `start` to step `stop` on `reward`: "proxy" (version `number`) or "expert". Outcome: step (reached)."""

    key: str
    start: int
    stop: int
    reward: str
    number: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do. `best_step` is the checkpoint that the protocol stands for."""

    reason: str
    best_step: int


Stage = Sample | Ask | Realign | Grade | Train
Outcome = dict[str, Any]
Script = Generator[Stage, Outcome, Finish]


def next_stage(plan: Plan, outcomes: Sequence[tuple[str, Outcome]]) -> Stage | Finish:
    """The stage that follows `outcomes`, the (key, outcome) pairs of all ended stages in order.

    Raises ValueError where the outcomes are not those of this plan's protocol.
    """
    script = PROTOCOLS[plan.protocol](plan)
    try:
        stage = next(script)
        for key, outcome in outcomes:
            if key != stage.key:
                raise ValueError(f"{plan.protocol} expected the outcome of {stage.key}, not of {key}")
            stage = script.send(outcome)
    except StopIteration as stop:
        finish: Finish = stop.value
        return finish
    return stage


def full_trace(plan: Plan) -> Script:
    """Proxy by fine-tuning at fixed intervals (paper, section 4): distil, RL for S steps, ask again, distil again."""
    step, number = 0, 1
    while True:
        last = step >= plan.steps
        wanted = 0 if last else (plan.initial if step == 0 else plan.update)
        yield from look(plan, step, pool=max(plan.pool, wanted) if wanted else 0)
        if last:
            return Finish("all steps done", step)
        if wanted:
            purpose = "initial" if step == 0 else "update"
            # Disagreement is known only where the expert has spoken, so that strategy asks about the whole pool.
            count = max(plan.pool, wanted) if plan.strategy == "max-disagreement" else wanted
            asked = yield Ask(f"ask-{purpose}-{step}", step, purpose, count)
            if not asked["samples"]:
                return Finish("the expert budget is used up", step)
            number += 1
            first = number == 2
            yield Realign(f"realign-{step}", step, number, wanted, plan.epochs if first else plan.update_epochs, 0 if first else plan.replay)
            if plan.evaluation:
                yield Grade(f"grade-{step}", step, number)
        trained = yield Train(f"train-{step}", step, min(step + plan.segment, plan.steps), "proxy", number)
        step = trained["step"]


def ceiling(plan: Plan) -> Script:
    """RL straight on expert reward (paper, section 2.3): the high-water mark."""
    step = 0
    while True:
        yield from look(plan, step, grades=0)
        if step >= plan.steps:
            return Finish("all steps done", step)
        trained = yield Train(f"train-{step}", step, min(step + plan.segment, plan.steps), "expert", 0)
        if trained["step"] == step:
            return Finish("the expert budget is used up", step)
        step = trained["step"]


def weak_proxy(plan: Plan) -> Script:
    """RL on the baseline proxy with a look every S steps; the best checkpoint before the fall counts (paper, section 2.3)."""
    step, best, best_step, falls = 0, float("-inf"), 0, 0
    while True:
        checked = yield from look(plan, step, purpose="check")
        if not checked["samples"]:
            return Finish("the expert budget is used up", best_step)
        if checked["mean"] is not None and checked["mean"] > best:
            best, best_step = checked["mean"], step
        else:
            falls += 1
        if plan.stop_after_falls and falls >= plan.stop_after_falls:
            return Finish("expert reward fell", best_step)
        if step >= plan.steps:
            return Finish("all steps done", best_step)
        trained = yield Train(f"train-{step}", step, min(step + plan.segment, plan.steps), "proxy", 1)
        step = trained["step"]


def look(plan: Plan, step: int, *, pool: int = 0, purpose: str = "eval", grades: int | None = None) -> Generator[Stage, Outcome, Outcome]:
    """Sample what is wanted at `step` (the eval split, and a pool for feedback), and have the eval rollouts judged."""
    requests = []
    if plan.evaluation:
        requests.append(Request(purpose, "eval", plan.eval_prompts, plan.eval_rollouts, plan.proxy_n if grades is None else grades))
    if pool:
        prompts = -(-pool // plan.per_prompt)
        requests.append(Request("initial" if step == 0 else "update", "train", prompts, plan.per_prompt, plan.pool_grades))
    if requests:
        yield Sample(f"sample-{step}", step, tuple(requests))
    if plan.evaluation:
        return (yield Ask(f"ask-{purpose}-{step}", step, purpose, plan.evaluation))
    return {"samples": 0}


PROTOCOLS: dict[str, Callable[[Plan], Script]] = {"full-trace": full_trace, "ceiling": ceiling, "weak-proxy": weak_proxy}


def estimate(plan: Plan) -> dict[str, int]:
    """Expert samples by purpose if nothing ends early: the script is run through with outcomes that go well.

    "control" are hidden repeats and gold items, where the plan has any: as many as there can be.
    """
    script = PROTOCOLS[plan.protocol](plan)
    samples: dict[str, int] = {}
    outcome: Outcome
    rising = 0.0
    try:
        stage = next(script)
        while True:
            if isinstance(stage, Ask):
                samples[stage.purpose] = samples.get(stage.purpose, 0) + stage.count
                if controls := sum(plan.controls(stage.count)):
                    samples["control"] = samples.get("control", 0) + controls
                rising += 1
                outcome = {"samples": stage.count, "mean": rising, "error": 0.0}
            elif isinstance(stage, Train):
                if stage.reward == "expert":
                    samples["reward"] = samples.get("reward", 0) + (stage.stop - stage.start) * plan.batch
                outcome = {"step": stage.stop}
            else:
                outcome = {}
            stage = script.send(outcome)
    except StopIteration:
        return samples


def least(plan: Plan) -> int:
    """Expert samples without which the protocol cannot do anything: up to and including the look after its first RL step, with their controls."""
    asked = [plan.evaluation] * (1 if plan.protocol == "weak-proxy" else 2)
    if plan.protocol == "full-trace":
        asked.append(max(plan.pool, plan.initial) if plan.strategy == "max-disagreement" else plan.initial)
    return sum(count + sum(plan.controls(count)) for count in asked) + (plan.batch if plan.protocol == "ceiling" else 0)
