"""The protocols: what an experiment does next, given what it has done. No ORM, no clock, no torch.

A protocol is a generator. It yields stages and is sent the outcome of each; an experiment that goes on after a day or a crash
replays the outcomes it has and stands where it stood. So a protocol must depend on its plan and on the outcomes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from training.presets import Plan

CHOICES = [
    ("full-trace", "full-trace distillation"),
    ("context-full", "context distillation: the whole trace is shown"),
    ("context-feedback", "context distillation: the feedback alone is shown"),
    ("scalar-head", "scalar head: learns scores alone"),
    ("rubric", "rubric prompts"),
    ("few-shot", "few-shot prompts"),
    ("few-shot-prefilled", "few-shot prompts, as earlier turns"),
    ("per-prompt-rubric", "a rubric for each prompt"),
    ("per-prompt-few-shot", "few-shot prompts for each prompt"),
    ("ceiling", "ceiling: RL on expert reward"),
    ("weak-proxy", "weak proxy with checks"),
    ("retrain", "retraining from scratch on a proxy that there is"),
    ("prompt-optimisation", "prompt optimisation, without RL"),
]
FINE_TUNED = ("full-trace", "context-full", "context-feedback", "scalar-head")
SHOWN = {"context-full": "full", "context-feedback": "feedback"}  # what of the expert's trace the proxy sees when it writes its own
IN_CONTEXT = ("rubric", "few-shot", "few-shot-prefilled")
PER_PROMPT = ("per-prompt-rubric", "per-prompt-few-shot")


@dataclass(frozen=True, slots=True)
class Request:
    """Rollouts wanted: `prompts` of a split, `per_prompt` of each, with `grades` proxy traces on every one.

    `split` is "train", "eval", or "validation": train prompts that are kept out of RL.
    """

    purpose: str
    split: str
    prompts: int
    per_prompt: int
    grades: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Sample rollouts after `step` RL steps from the checkpoint at `policy`, which is an earlier one after a roll-back.

    `template`: another generation prompt than the domain's. Outcome: unique, the share of different texts on the eval split.
    """

    key: str
    step: int
    policy: int
    requests: tuple[Request, ...]
    template: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Have the expert judge `count` of the rollouts sampled at `sample` for `purpose`; wait for the verdicts.

    Outcome: samples (verdicts that came), mean, error and deviation (expert reward, its standard error, the standard deviation of the scores;
    None where there is none).
    """

    key: str
    step: int
    purpose: str
    count: int
    sample: str


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Have the proxy write traces of its own on the texts of a lesson while it is shown what the expert wrote (paper, section 4.2)."""

    key: str
    step: int
    number: int
    count: int
    replay: int
    show: str


@dataclass(frozen=True, slots=True)
class Realign:
    """Make proxy version `number` from the feedback so far, by fine-tuning.

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
class Search:
    """Make proxy version `number` by prompting: write grading prompts from feedback and keep those that agree best (paper, section 3)."""

    key: str
    step: int
    number: int
    sample: str


@dataclass(frozen=True, slots=True)
class Grade:
    """Grade the evaluation rollouts of `step` again with proxy `number`: alignment after a realignment."""

    key: str
    step: int
    number: int


@dataclass(frozen=True, slots=True)
class Train:
    """RL to step `stop` on `reward`: "proxy" (version `number`) or "expert". Outcome: step (reached).

    `start` steps were done before. It goes on from the checkpoint at `origin`: an earlier one after a roll-back, whose lost steps still count.
    """

    key: str
    start: int
    stop: int
    reward: str
    number: int
    origin: int


@dataclass(frozen=True, slots=True)
class Optimise:
    """Improve the generation prompt by the expert's feedback on `calls` rollouts at most. Outcome: prompt, calls, step (at which it is looked at)."""

    key: str
    step: int
    calls: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do. `best_step` is the checkpoint that the protocol stands for."""

    reason: str
    best_step: int


Stage = Sample | Ask | Rewrite | Realign | Search | Grade | Train | Optimise
Outcome = dict[str, Any]
Script = Generator[Stage, Outcome, Finish]
USED_UP = "the expert budget is used up"


def next_stage(plan: Plan, outcomes: Sequence[tuple[str, Outcome]]) -> Stage | Finish:
    """The stage that follows `outcomes`, the (key, outcome) pairs of all ended stages in order.

    Raises ValueError where the outcomes are not those of this plan's protocol.
    """
    return _replay(PROTOCOLS[plan.protocol](plan), plan, outcomes)


def falls(plan: Plan, outcomes: Sequence[tuple[str, Outcome]]) -> list[int]:
    """The steps at which the protocol found that expert reward had fallen, by the outcomes so far. Raises ValueError as `next_stage` does."""
    found: list[int] = []
    if plan.protocol in IN_CONTEXT:
        _replay(in_context(plan, found), plan, outcomes)
    elif plan.protocol == "weak-proxy":
        _replay(weak_proxy(plan, found), plan, outcomes)
    return found


def _replay(script: Script, plan: Plan, outcomes: Sequence[tuple[str, Outcome]]) -> Stage | Finish:
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


def fine_tuned(plan: Plan) -> Script:
    """Proxy by fine-tuning at fixed intervals (paper, section 4): teach it, RL for S steps, ask again, teach it again."""
    step, number = 0, 1
    while True:
        last = step >= plan.steps
        wanted = 0 if last else (plan.initial if step == 0 else plan.update)
        yield from look(plan, step, pool=max(plan.pool, wanted) if wanted else 0)
        if last:
            return Finish("all steps done", step)
        if wanted:
            purpose = teaching(step)
            # Disagreement is known only where the expert has spoken, so that strategy asks about the whole pool.
            count = max(plan.pool, wanted) if plan.strategy == "max-disagreement" else wanted
            asked = yield Ask(f"ask-{purpose}-{step}", step, purpose, count, f"sample-{step}")
            if not asked["samples"]:
                return Finish(USED_UP, step)
            number += 1
            first = number == 2
            replay = 0 if first else plan.replay
            if show := SHOWN.get(plan.protocol):
                yield Rewrite(f"rewrite-{step}", step, number, wanted, replay, show)
            yield Realign(f"realign-{step}", step, number, wanted, plan.epochs if first else plan.update_epochs, replay)
            yield from grade_again(plan, step, number)
        trained = yield rl(plan, step, "proxy", number)
        step = trained["step"]


def in_context(plan: Plan, fallen_at: list[int] | None = None) -> Script:
    """Proxy by prompts written from feedback; checked after every S steps, and realigned when expert reward fell (paper, section 3).

    `step` counts all RL steps done, `policy` is the step of the checkpoint in hand. The steps of falls are added to `fallen_at`.
    """
    fallen_at = [] if fallen_at is None else fallen_at
    step = policy = 0
    number = 1
    good: Outcome | None = None
    yield from look(plan, step)
    while True:
        asked = yield from write_prompts(plan, step, policy, number + 1)
        if not asked["samples"]:
            return Finish(USED_UP, policy)
        if good is None and plan.strategy != "max-variance":  # which looks at no fair sample of them
            good = asked
        number += 1
        fallen = False
        while not fallen:
            trained = yield rl(plan, step, "proxy", number, policy)
            before, step = policy, trained["step"]
            checked = yield from look(plan, step, check=plan.check)
            fallen = has_fallen(plan, good, checked)
            if fallen:
                fallen_at.append(step)
            policy = before if fallen and plan.after_fall == "roll-back" else step
            if step >= plan.steps:
                return Finish("all steps done", policy)
            if plan.check and not checked["samples"]:
                return Finish(USED_UP, policy)
            if not fallen or plan.after_fall == "keep":
                good = checked
        if number > plan.realignments:
            return Finish("expert reward fell after the last realignment", policy)


def has_fallen(plan: Plan, before: Outcome | None, now: Outcome) -> bool:
    """Whether mean expert reward fell by `fall` standard deviations or more from one check to the next (paper, section 3, step 8).

    Of the single scores of the check before, or of the difference of the two means, as the plan says.
    """
    if before is None or before["mean"] is None or now["mean"] is None:
        return False
    deviation = before["deviation"] if plan.fall_in == "scores" else ((before["error"] or 0.0) ** 2 + (now["error"] or 0.0) ** 2) ** 0.5
    return bool(deviation) and before["mean"] - now["mean"] >= plan.fall * deviation


def write_prompts(plan: Plan, step: int, policy: int, number: int) -> Generator[Stage, Outcome, Outcome]:
    """Ask about fresh rollouts of the checkpoint in hand, and search for prompts. Returns what the expert said; no samples: the budget is used up."""
    wanted, purpose, sample = plan.initial if number == 2 else plan.update, teaching(step), f"fresh-{step}"
    pool = max(plan.pool, wanted)
    requests = [Request(purpose, "train", -(-pool // plan.per_prompt), plan.per_prompt, max(plan.pool_grades, plan.proxy_n))]
    if plan.validation:
        requests.append(Request("validation", "validation", plan.validation_prompts, plan.validation_rollouts, 0))
    yield Sample(sample, step, policy, tuple(requests))
    asked = yield Ask(f"ask-{purpose}-{step}", step, purpose, pool if plan.strategy == "max-disagreement" else wanted, sample)
    if not asked["samples"]:
        return asked
    if plan.validation:
        tried = yield Ask(f"ask-validation-{step}", step, "validation", plan.validation, sample)
        if not tried["samples"]:
            return tried
    yield Search(f"search-{step}", step, number, sample)
    if policy == step:  # after a roll-back there are no evaluation rollouts of this step to grade
        yield from grade_again(plan, step, number)
    return asked


def per_prompt(plan: Plan) -> Script:
    """A grading prompt for each train prompt, renewed after every S steps; neither searched for nor checked (paper, section 3.3)."""
    step, number = 0, 1
    while True:
        yield from look(plan, step)
        if step >= plan.steps:
            return Finish("all steps done", step)
        if number <= plan.realignments:
            purpose, sample = teaching(step), f"fresh-{step}"
            # 0 prompts, and 0 rollouts: all there are.
            yield Sample(sample, step, step, (Request(purpose, "train", 0, plan.per_task, plan.proxy_n),))
            asked = yield Ask(f"ask-{purpose}-{step}", step, purpose, 0, sample)
            if not asked["samples"]:
                return Finish(USED_UP, step)
            number += 1
            yield Search(f"search-{step}", step, number, sample)
            yield from grade_again(plan, step, number)
        trained = yield rl(plan, step, "proxy", number)
        step = trained["step"]


def ceiling(plan: Plan) -> Script:
    """RL straight on expert reward (paper, section 2.3): the high-water mark, cut off where the policy collapses to few texts."""
    step = before = 0
    while True:
        looked = yield from look(plan, step, grades=0)
        if step and plan.collapse and (looked.get("unique") or 1.0) < plan.collapse:
            return Finish(f"the policy collapsed: {looked['unique']:.0%} of its texts differ", before)
        if step >= plan.steps:
            return Finish("all steps done", step)
        trained = yield rl(plan, step, "expert", 0)
        if trained["step"] == step:
            return Finish(USED_UP, step)
        before, step = step, trained["step"]


def weak_proxy(plan: Plan, fallen_at: list[int] | None = None) -> Script:
    """RL on the baseline proxy with a look every S steps; the best checkpoint before the fall counts (paper, section 2.3).

    The steps of falls are added to `fallen_at`.
    """
    step, best, best_step = 0, float("-inf"), 0
    fallen_at = [] if fallen_at is None else fallen_at
    while True:
        checked = yield from look(plan, step, purpose="check")
        if not checked["samples"]:
            return Finish(USED_UP, best_step)
        if checked["mean"] is not None and checked["mean"] > best:
            best, best_step = checked["mean"], step
        else:
            fallen_at.append(step)
        if plan.stop_after_falls and len(fallen_at) >= plan.stop_after_falls:
            return Finish("expert reward fell", best_step)
        if step >= plan.steps:
            return Finish("all steps done", best_step)
        trained = yield rl(plan, step, "proxy", 1)
        step = trained["step"]


def retrain(plan: Plan) -> Script:
    """RL from the start on a proxy version that another experiment made (paper, appendix B.2); nobody is asked but to measure."""
    step = 0
    while True:
        yield from look(plan, step)
        if step >= plan.steps:
            return Finish("all steps done", step)
        trained = yield rl(plan, step, "proxy", 1)
        step = trained["step"]


def prompt_optimisation(plan: Plan) -> Script:
    """The policy stays as it is and its prompt is improved by the expert's feedback (paper, section 2.3)."""
    yield from look(plan, 0, grades=0)
    optimised = yield Optimise("optimise-0", plan.steps, plan.calls)
    if not optimised["calls"]:
        return Finish(USED_UP, 0)
    # Not a step of RL, but what comes of it: measured at the last step, from the policy as it was.
    yield from look(plan, plan.steps, policy=0, grades=0, template=optimised["prompt"])
    return Finish("the prompt is optimised", plan.steps)


def teaching(step: int) -> str:
    """The purpose of verdicts that a proxy learns from."""
    return "initial" if step == 0 else "update"


def rl(plan: Plan, step: int, reward: str, number: int, origin: int | None = None) -> Train:
    return Train(f"train-{step}", step, min(step + plan.segment, plan.steps), reward, number, step if origin is None else origin)


def grade_again(plan: Plan, step: int, number: int) -> Generator[Stage, Outcome, None]:
    if plan.evaluation:
        yield Grade(f"grade-{step}", step, number)


def look(
    plan: Plan,
    step: int,
    *,
    policy: int | None = None,
    pool: int = 0,
    purpose: str = "eval",
    grades: int | None = None,
    check: int = 0,
    template: str = "",
) -> Generator[Stage, Outcome, Outcome]:
    """Sample what is wanted at `step` (the eval split, a pool for feedback, a check), and have the eval rollouts and the check judged.

    Returns the outcome of the check where there is one, else of the look, with the `unique` share of the eval texts.
    """
    requests = []
    if plan.evaluation:
        requests.append(Request(purpose, "eval", plan.eval_prompts, plan.eval_rollouts, plan.proxy_n if grades is None else grades))
    if pool:
        requests.append(Request(teaching(step), "train", -(-pool // plan.per_prompt), plan.per_prompt, plan.pool_grades))
    if check:
        requests.append(Request("check", "train", max(check, plan.check_graded), 1, plan.proxy_n))
    outcome: Outcome = {"samples": 0, "mean": None}
    sample = f"sample-{step}"
    sampled = (yield Sample(sample, step, step if policy is None else policy, tuple(requests), template)) if requests else {}
    if plan.evaluation:
        outcome = yield Ask(f"ask-{purpose}-{step}", step, purpose, plan.evaluation, sample)
    if check:
        outcome = yield Ask(f"ask-check-{step}", step, "check", check, sample)
    return outcome | {"unique": sampled.get("unique")}


PROTOCOLS: dict[str, Callable[[Plan], Script]] = {
    **dict.fromkeys(FINE_TUNED, fine_tuned),
    **dict.fromkeys(IN_CONTEXT, in_context),
    **dict.fromkeys(PER_PROMPT, per_prompt),
    "ceiling": ceiling,
    "weak-proxy": weak_proxy,
    "retrain": retrain,
    "prompt-optimisation": prompt_optimisation,
}


def estimate(plan: Plan, tasks: int = 0) -> dict[str, int]:
    """Expert samples by purpose at most: the script is run through with outcomes that go well, and falls cost what realigning after them costs.

    `tasks`: how many train prompts there are. "control" are hidden repeats and gold items, where the plan has any: as many as there can be.
    """
    samples: dict[str, int] = {}

    def add(purpose: str, count: int, times: int = 1) -> None:
        for name, more in ((purpose, count), ("control", sum(plan.controls(count)))):
            if more and times:
                samples[name] = samples.get(name, 0) + more * times

    for stage in _going_well(plan, tasks):
        if isinstance(stage, Ask):
            add(stage.purpose, stage.count or tasks * plan.per_task)
        elif isinstance(stage, Optimise):
            samples["reward"] = samples.get("reward", 0) + stage.calls
        elif isinstance(stage, Train) and stage.reward == "expert":
            samples["reward"] = samples.get("reward", 0) + (stage.stop - stage.start) * plan.batch
    if plan.protocol in IN_CONTEXT:
        falls = min(plan.realignments, -(-plan.steps // plan.segment)) - 1  # after the last segment nothing is realigned
        add("update", max(plan.pool, plan.update) if plan.strategy == "max-disagreement" else plan.update, falls)
        add("validation", plan.validation, falls)
    return samples


def _going_well(plan: Plan, tasks: int) -> Iterator[Stage]:
    """The stages of a run in which every verdict comes, and each look is better than the one before."""
    script, rising = PROTOCOLS[plan.protocol](plan), 0.0
    try:
        stage = next(script)
        while True:
            yield stage
            outcome: Outcome = {}
            if isinstance(stage, Ask):
                rising += 1
                outcome = {"samples": stage.count or tasks * plan.per_task, "mean": rising, "error": 0.0, "deviation": 0.0}
            elif isinstance(stage, Train):
                outcome = {"step": stage.stop}
            elif isinstance(stage, Optimise):
                outcome = {"prompt": "", "calls": stage.calls}
            stage = script.send(outcome)
    except StopIteration:
        return


def least(plan: Plan, tasks: int = 0) -> int:
    """Expert samples without which the protocol cannot do anything: up to and including the look after its first RL step, with their controls."""
    asked = [plan.evaluation] * (1 if plan.protocol == "weak-proxy" else 2)
    if plan.protocol in (*FINE_TUNED, *IN_CONTEXT):
        asked.append(max(plan.pool, plan.initial) if plan.strategy == "max-disagreement" else plan.initial)
    if plan.protocol in IN_CONTEXT:
        asked += [plan.validation, plan.check]
    if plan.protocol in PER_PROMPT:
        asked.append(tasks * plan.per_task)
    return sum(count + sum(plan.controls(count)) for count in asked) + (plan.batch if plan.protocol == "ceiling" else 0)
