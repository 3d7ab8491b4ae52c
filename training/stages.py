"""How each kind of stage is carried out. Every function here may be called again at any time: it makes what is missing, and looks how far it is.

Each returns the stage's outcome, or None while it is not there yet; `note` says in words what it waits for.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from annotation.actions import close_batch, hold_rewards
from annotation.costs import expected
from annotation.models import Prompt
from training import asking, budget, jobs, learning, protocol
from training.choices import derive_seed, pool_prompts
from training.errors import StageFailed
from training.models import Checkpoint, Experiment, Job, ProxyVersion, Stage
from training.progress import Progress
from training.start import judge_digest, judge_path, proxy_judge


def carry_out(experiment: Experiment, row: Stage, stage: protocol.Stage) -> Progress:
    """Begin the stage or see whether it has ended. The experiment's row is locked by the caller. Raises `StageFailed`."""
    match stage:
        case protocol.Sample():
            return _sample(experiment, row, stage)
        case protocol.Ask():
            return _ask(experiment, row, stage)
        case protocol.Realign():
            return _realign(experiment, row, stage)
        case protocol.Grade():
            return _grade(experiment, row, stage)
        case protocol.Train():
            return _train(experiment, row, stage)


def _sample(experiment: Experiment, row: Stage, stage: protocol.Sample) -> Progress:
    if row.job is None:
        checkpoint, proxy = checkpoint_at(experiment, stage.step), experiment.proxies.order_by("-number")[0]
        row.arguments["graded_by"] = proxy.digest
        spec = {
            "seed": derive_seed(experiment.seed, stage.key),
            "model": checkpoint.path,
            "checkpoint": checkpoint.digest,
            "step": stage.step,
            "requests": [_request(experiment, request, proxy) for request in stage.requests],
            "sampling": {"temperature": experiment.plan.policy_temperature, "max_tokens": experiment.plan.policy_max_tokens},
            "content_tag": experiment.config["content_tag"],
        }
        _attach(row, jobs.make(experiment, stage.key, "sample", spec))
    wanted = sum(request.prompts * request.per_prompt for request in stage.requests)
    return _result(row, f"Sampling {wanted} rollouts from the policy at step {stage.step}.", lambda result: {"rollouts": result["rollouts"]})


def _request(experiment: Experiment, request: protocol.Request, proxy: ProxyVersion) -> dict[str, Any]:
    if request.split == "eval":
        chosen = experiment.config["eval_prompts"][: request.prompts]
    else:
        earlier = [r for s in experiment.stages.filter(kind="sample", ended__isnull=False) for r in s.arguments["requests"] if r["split"] == "train"]
        used = sum(r["prompts"] for r in earlier)
        chosen = pool_prompts(experiment.config["train_prompts"], experiment.seed, used, request.prompts)
    judge = {**proxy.judge, "options": {**proxy.judge["options"], "n": request.grades}} if request.grades else None
    return {"name": request.purpose, "prompts": prompt_rows(chosen), "per_prompt": request.per_prompt, "judge": judge}


def _ask(experiment: Experiment, row: Stage, stage: protocol.Ask) -> Progress:
    if row.batch is None and "granted" not in row.arguments:
        # What teaches must leave enough to see what it taught.
        reserve = 0 if stage.purpose in ("eval", "check") else budget.verdicts(experiment, experiment.plan.evaluation)
        left = budget.texts(experiment, max(0, budget.left(experiment) - reserve))
        granted = row.arguments["granted"] = min(stage.count, left)
        row.batch = asking.ask(experiment, stage, granted, room=left - granted)
        row.save()
    if row.batch is None:
        return Progress({"samples": 0, "mean": None, "error": None})
    if coming := asking.outstanding(row.batch):
        return asking.waiting(experiment, stage, row.batch, coming)
    return Progress(asking.outcome(row.batch))


def _realign(experiment: Experiment, row: Stage, stage: protocol.Realign) -> Progress:
    parent = experiment.proxies.get(number=stage.number - 1)
    if row.job is None:
        lesson = learning.lesson(experiment, stage)
        row.arguments |= {"feedback": [f.pk for f in lesson.feedback], "skipped": lesson.skipped}
        plan = experiment.plan
        spec = {
            "seed": derive_seed(experiment.seed, stage.key),
            "model": judge_path(parent),
            "sft": {"epochs": stage.epochs, "learning_rate": plan.distil_learning_rate, "batch": plan.distil_batch},
            "examples": "examples.jsonl",
            "score_tag": experiment.config["format"]["score_tag"],
        }
        _attach(row, jobs.make(experiment, stage.key, "distil", spec, {"examples.jsonl": learning.examples(experiment, lesson.feedback)}))

    def finish(result: dict[str, Any]) -> protocol.Outcome:
        judge = proxy_judge(experiment, result["model"]["path"])
        version, made = ProxyVersion.objects.get_or_create(
            experiment=experiment,
            number=stage.number,
            defaults={
                "job": row.job,
                "parent": parent,
                "method": experiment.plan.protocol,
                "step": stage.step,
                "judge": judge,
                "digest": judge_digest(judge, result["model"]["digest"]),
            },
        )
        if made:
            version.feedback.set(row.arguments["feedback"])
        return {"proxy": version.number, "examples": len(row.arguments["feedback"]), "skipped": row.arguments["skipped"]}

    learnt = len(row.arguments["feedback"])
    return _result(row, f"Realigning the proxy at step {stage.step}: version {stage.number} learns from {learnt} verdicts.", finish)


def _grade(experiment: Experiment, row: Stage, stage: protocol.Grade) -> Progress:
    if row.job is None:
        proxy = experiment.proxies.get(number=stage.number)
        row.arguments["graded_by"] = proxy.digest
        rollouts = asking.sampled(experiment, stage.step, Prompt.Split.EVAL)
        cases = [{"id": r.pk, "instructions": r.prompt.text, "content": r.content} for r in rollouts]
        spec = {"seed": derive_seed(experiment.seed, stage.key), "judge": proxy.judge}
        _attach(row, jobs.make(experiment, stage.key, "grade", spec, {"cases.jsonl": cases}))
    return _result(row, f"Proxy version {stage.number} grades the evaluation rollouts of step {stage.step} again.", lambda result: {})


def _train(experiment: Experiment, row: Stage, stage: protocol.Train) -> Progress:
    plan = experiment.plan
    if row.job is None:
        until = row.arguments["until"] = stage.stop if stage.reward == "proxy" else _affordable(experiment, row, stage)
        if until == stage.start:
            return Progress({"step": stage.start})
        checkpoint = checkpoint_at(experiment, stage.start)
        spec = {
            "seed": experiment.seed,
            "policy": checkpoint.path,
            "resume_from": checkpoint.trainer_state or None,
            "start": stage.start,
            "stop": until,
            "prompts": prompt_rows(experiment.config["train_prompts"]),
            "reward": _reward(experiment, row, stage),
            "plan": {name: getattr(plan, name) for name in RL_NUMBERS},
            "content_tag": experiment.config["content_tag"],
        }
        _attach(row, jobs.make(experiment, stage.key, "rl", spec))

    def finish(result: dict[str, Any]) -> protocol.Outcome:
        saved = result["checkpoint"]
        Checkpoint.objects.get_or_create(
            experiment=experiment,
            step=result["step"],
            defaults={
                "job": row.job,
                "parent": checkpoint_at(experiment, stage.start),
                "path": saved["path"],
                "trainer_state": saved["trainer_state"],
                "digest": saved["digest"],
            },
        )
        if row.batch is not None and row.batch.closed is None:
            close_batch(row.batch, reason=f"RL reached step {result['step']}.")
        return {"step": result["step"]}

    who = "the expert's own scores" if stage.reward == "expert" else f"proxy version {stage.number}"
    return _result(row, f"RL from step {stage.start} to {row.arguments['until']}, rewarded by {who}.", finish)


RL_NUMBERS = ("learning_rate", "prompts_per_step", "group", "policy_temperature", "policy_max_tokens", "save_every", "unscored_limit")


def _affordable(experiment: Experiment, row: Stage, stage: protocol.Train) -> int:
    """The step up to which the budgets pay the expert for every rollout, with the look after it; they hold that much for the job."""
    steps = max(0, budget.left(experiment) - experiment.plan.evaluation) // experiment.plan.batch
    wanted = (min(stage.stop, stage.start + steps) - stage.start) * experiment.plan.batch
    if not wanted:
        return stage.start
    row.batch = asking.reward_batch(experiment, stage)
    each = expected(experiment.expert, experiment.domain, timezone.now()).cost
    until = stage.start + hold_rewards(row.batch, wanted, each) // experiment.plan.batch
    if until == stage.start:
        close_batch(row.batch, reason="The budgets have no room for a step.")
    return until


def _reward(experiment: Experiment, row: Stage, stage: protocol.Train) -> dict[str, Any]:
    if stage.reward == "expert":
        return {"who": "expert", "judge": asking.judge(experiment)}
    proxy = experiment.proxies.get(number=stage.number)
    row.arguments["graded_by"] = proxy.digest
    return {"who": "proxy", "judge": proxy.judge}


def _attach(row: Stage, job: Job) -> None:
    from training import dispatch, tasks

    row.job = job
    row.save()
    dispatch.send(tasks.run_job, job.pk)


def _result(row: Stage, note: str, outcome: Any) -> Progress:
    """The outcome once the job is done. Raises `StageFailed` where it failed."""
    assert row.job is not None
    if row.job.state == Job.State.FAILED:
        raise StageFailed(row.job.error)
    return Progress(outcome(row.job.result)) if row.job.state == Job.State.DONE else Progress(note=note)


def checkpoint_at(experiment: Experiment, step: int) -> Checkpoint:
    return experiment.checkpoints.get(step=step)


def prompt_rows(ids: list[int]) -> list[dict[str, Any]]:
    """The prompts in the order of `ids`, as jobs get them."""
    texts = Prompt.objects.in_bulk(ids)
    return [{"id": i, "text": texts[i].text} for i in ids]
