"""How each kind of stage is carried out. Every function here may be called again at any time: it makes what is missing, and looks how far it is.

Each returns the stage's outcome, or None while it is not there yet; `note` says in words what it waits for.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from annotation.actions import close_batch, hold_rewards
from annotation.costs import expected
from annotation.models import Batch, Feedback, Prompt
from grading.prompts import fill
from training import asking, budget, jobs, learning, measures, protocol, writers
from training.choices import derive_seed, pool_prompts
from training.engine import optimise
from training.engine.files import read_rows
from training.errors import StageFailed
from training.models import Checkpoint, Experiment, Job, ProxyVersion, Stage
from training.progress import Progress
from training.start import generative, in_process, judge_digest, scalar, served_adapter, taught_path, weights_digest, writing_model


def carry_out(experiment: Experiment, row: Stage, stage: protocol.Stage) -> Progress:
    """Begin the stage or see whether it has ended. The experiment's row is locked by the caller. Raises `StageFailed`."""
    match stage:
        case protocol.Sample():
            return _sample(experiment, row, stage)
        case protocol.Ask():
            return _ask(experiment, row, stage)
        case protocol.Rewrite():
            return _rewrite(experiment, row, stage)
        case protocol.Realign():
            return _realign(experiment, row, stage)
        case protocol.Search():
            return _search(experiment, row, stage)
        case protocol.Grade():
            return _grade(experiment, row, stage)
        case protocol.Train():
            return _train(experiment, row, stage)
        case protocol.Optimise():
            return _optimise(experiment, row, stage)


def _sample(experiment: Experiment, row: Stage, stage: protocol.Sample) -> Progress:
    plan = experiment.plan
    if row.job is None:
        checkpoint, proxy = checkpoint_at(experiment, stage.policy), experiment.proxies.order_by("-number")[0]
        chosen = {request.purpose: _prompts(experiment, request) for request in stage.requests}
        row.arguments |= {"graded_by": proxy.digest, "prompts": chosen}
        spec = {
            "seed": derive_seed(experiment.seed, stage.key),
            "model": checkpoint.path,
            "checkpoint": checkpoint.digest,
            "step": stage.step,
            "requests": [_request(request, proxy, prompt_rows(chosen[request.purpose], stage.template)) for request in stage.requests],
            "sampling": {"temperature": plan.policy_temperature, "max_tokens": plan.policy_max_tokens},
            "content_tag": experiment.config["content_tag"],
        }
        if plan.reference_kl and stage.policy and any(request.split == Prompt.Split.EVAL for request in stage.requests):
            spec["reference"] = checkpoint_at(experiment, 0).path
        _attach(row, jobs.make(experiment, stage.key, "sample", spec))

    def finish(result: dict[str, Any]) -> protocol.Outcome:
        looked_at = [request.purpose for request in stage.requests if request.split == Prompt.Split.EVAL]
        texts = [rollout.content for purpose in looked_at for rollout in asking.sampled(row, purpose)]
        return {"rollouts": result["rollouts"], "unique": measures.unique_share(texts)}

    wanted = sum(len(row.arguments["prompts"][request.purpose]) * request.per_prompt for request in stage.requests)
    return _result(row, f"Sampling {wanted} rollouts from the policy at step {stage.policy}.", finish)


def _prompts(experiment: Experiment, request: protocol.Request) -> list[int]:
    """Ids of the prompts that the request is about."""
    config, train = experiment.config, experiment.config["train_prompts"]
    if request.split != Prompt.Split.TRAIN:
        kept: list[int] = config[f"{request.split}_prompts"][: request.prompts]
        return kept
    if not request.prompts:
        return list(train)
    if request.purpose == Batch.Purpose.CHECK:  # the same at every check, so that two of them differ by the policy alone
        return pool_prompts(train, derive_seed(experiment.seed, "check"), 0, min(request.prompts, len(train)))
    earlier = [r for s in experiment.stages.filter(kind="sample", ended__isnull=False) for r in s.arguments["requests"]]
    used = sum(r["prompts"] for r in earlier if r["purpose"] in learning.LEARNT_FROM)
    return pool_prompts(train, experiment.seed, used, request.prompts)


def _request(request: protocol.Request, proxy: ProxyVersion, prompts: list[dict[str, Any]]) -> dict[str, Any]:
    judge = proxy.judge
    if not request.grades:
        judge = None
    elif "n" in judge["options"]:
        judge = {**judge, "options": {**judge["options"], "n": request.grades}}
    return {"name": request.purpose, "prompts": prompts, "per_prompt": request.per_prompt, "judge": judge}


def _ask(experiment: Experiment, row: Stage, stage: protocol.Ask) -> Progress:
    if row.batch is None and "granted" not in row.arguments:
        # What teaches must leave enough to see what it taught.
        reserve = 0 if stage.purpose in ("eval", "check") else budget.verdicts(experiment, experiment.plan.evaluation)
        left = budget.texts(experiment, max(0, budget.left(experiment) - reserve))
        granted = row.arguments["granted"] = min(asking.wanted(experiment, stage), left)
        row.batch = asking.ask(experiment, stage, granted, room=left - granted)
        row.save()
    if row.batch is None:
        return Progress({"samples": 0, "mean": None, "error": None})
    if coming := asking.outstanding(row.batch):
        return asking.waiting(experiment, stage, row.batch, coming)
    if stage.purpose == Batch.Purpose.CHECK and experiment.plan.check_graded > experiment.plan.check > 0:
        return Progress(asking.checked(experiment, stage, row.batch))
    return Progress(asking.outcome(row.batch))


def _rewrite(experiment: Experiment, row: Stage, stage: protocol.Rewrite) -> Progress:
    if row.job is None:
        plan, proxy, lesson = experiment.plan, experiment.proxies.get(number=stage.number - 1), learning.lesson(experiment, stage)
        row.arguments |= {"feedback": [f.pk for f in lesson.feedback], "skipped": lesson.skipped, "written_by": proxy.digest}
        spec = {
            "seed": derive_seed(experiment.seed, stage.key),
            "judge": proxy.judge,
            "context_prompt": experiment.config["context_prompt"],
            "show": stage.show,
            "traces": plan.traces_per_text,
            "tries": plan.tries_per_text,
            "examples": "examples.jsonl",
        }
        _attach(row, jobs.make(experiment, stage.key, "rewrite", spec, {"examples.jsonl": learning.as_examples(lesson.feedback)}))

    def finish(result: dict[str, Any]) -> protocol.Outcome:
        if not result["kept"]:
            reasons = ", ".join(f"{count} {reason}" for reason, count in result["rejected"].items())
            raise StageFailed(
                f"None of the {result['tried']} traces that the proxy wrote can be learnt from ({reasons}).",
                "Look at traces.jsonl in the job's folder, mend the domain's context prompt, then start a new experiment.",
            )
        return {name: result[name] for name in ("examples", "kept", "tried", "rejected")}

    return _result(row, f"The proxy writes traces of its own on {len(row.arguments['feedback'])} rollouts that the expert has judged.", finish)


def _realign(experiment: Experiment, row: Stage, stage: protocol.Realign) -> Progress:
    plan, parent = experiment.plan, experiment.proxies.get(number=stage.number - 1)
    if row.job is None:
        kind, rows = _lesson(experiment, row, stage)
        spec = {
            "seed": derive_seed(experiment.seed, stage.key),
            "model": taught_path(parent),
            "sft": {"epochs": stage.epochs, "learning_rate": plan.distil_learning_rate, "batch": plan.distil_batch},
            "examples": "examples.jsonl",
            "adapt": {"lora": plan.lora} if plan.lora else "all",
        }
        fmt, files = experiment.config["format"], {"examples.jsonl": rows}
        spec |= {"score_range": [fmt["score_min"], fmt["score_max"]]} if kind == "scalar" else {"score_tag": fmt["score_tag"]}
        if adapter := served_adapter(parent):
            spec["below"] = adapter
        if plan.probes and plan.evaluation:
            spec["probe"], files["probe.jsonl"] = _probe(experiment, stage, _learner(experiment, parent), len(rows))
        _attach(row, jobs.make(experiment, stage.key, kind, spec, files))

    def finish(result: dict[str, Any]) -> protocol.Outcome:
        made = result["model"]
        if plan.protocol == "scalar-head":
            judge = scalar(experiment, made["path"])
        else:
            judge = generative(experiment, writing_model(experiment, stage.number, made), [experiment.config["grading_prompt"]])
        version = _version(experiment, row, stage, parent, judge, made["digest"])
        return {"proxy": version.number, "examples": len(row.arguments["feedback"]), "skipped": row.arguments["skipped"]}

    learnt = len(row.arguments["feedback"])
    return _result(row, f"Realigning the proxy at step {stage.step}: version {stage.number} learns from {learnt} verdicts.", finish)


def _lesson(experiment: Experiment, row: Stage, stage: protocol.Realign) -> tuple[str, list[dict[str, Any]]]:
    """The kind of job that teaches the proxy, and its examples; what they rest on is kept in the stage's row."""
    method = experiment.plan.protocol
    if method in protocol.SHOWN:
        written = experiment.stages.select_related("job").get(key=f"rewrite-{stage.step}")
        row.arguments |= {name: written.arguments[name] for name in ("feedback", "skipped")}
        feedback = list(Feedback.objects.filter(pk__in=written.arguments["feedback"]).select_related("item__rollout__prompt"))
        assert written.job is not None
        return "distil", list(learning.rewritten(experiment, feedback, read_rows(written.job.path / "traces.jsonl")))
    lesson = learning.lesson(experiment, stage)
    row.arguments |= {"feedback": [f.pk for f in lesson.feedback], "skipped": lesson.skipped}
    if method == "scalar-head":
        return "scalar", list(learning.scored(experiment, lesson.feedback))
    return "distil", list(learning.examples(experiment, lesson.feedback))


def _learner(experiment: Experiment, parent: ProxyVersion) -> dict[str, Any]:
    """The proxy that is being taught, as a judge in the job's own process: the job puts in the model as it is by then."""
    path = taught_path(parent)
    if experiment.plan.protocol == "scalar-head":
        return scalar(experiment, path)
    return {**parent.judge, "options": {**parent.judge["options"], "model": in_process(path)}}


def _probe(experiment: Experiment, stage: protocol.Realign, judge: dict[str, Any], rows: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What alignment is measured on while the proxy learns, and after how many samples (paper, appendix B.1): the texts of the look at this step."""
    plan, asked = experiment.plan, experiment.stages.select_related("batch").get(key=f"ask-eval-{stage.step}")
    judged = asking.verdicts(asked.batch) if asked.batch is not None else []
    cases = [
        {"id": f.pk, "group": r.prompt_id, "instructions": r.prompt.text, "content": r.content, "score": f.score}
        for f in judged
        if (r := f.item.rollout) and f.score is not None
    ]
    seen = rows * stage.epochs
    at = sorted({round(seen * i / plan.probes) for i in range(plan.probes + 1)})
    return {"judge": judge, "cases": "probe.jsonl", "at": at}, cases


def _search(experiment: Experiment, row: Stage, stage: protocol.Search) -> Progress:
    plan, parent = experiment.plan, experiment.proxies.get(number=stage.number - 1)
    if row.job is None:
        found = learning.material(experiment, stage)
        if writers.awaited(experiment):
            return Progress(note=f"Waiting for a person to write a grading prompt for step {stage.step}, from the expert's feedback.", people=True)
        row.arguments |= {"graded_by": parent.digest, "validation": [f.pk for f in found.validation]}
        spec = {
            "seed": derive_seed(experiment.seed, stage.key),
            "judge": parent.judge,
            "method": plan.protocol,
            "writer": experiment.config["writers"].get(writers.GRADING),
            "given": row.arguments.get("written", []),
            "rubric_prompt": experiment.config["rubric_prompt"],
            "grading_prompt": experiment.config["grading_prompt"],
            "candidates": plan.search,
            "keep": plan.keep,
            "shown": plan.shown,
            "draw": found.draw,
            "measure_now": bool(found.validation),
        }
        proxy = asking.raw_traces([f.item.rollout_id for f in found.examples])
        validation = [
            case | {"group": f.item.rollout.prompt_id} for f, case in zip(found.validation, learning.as_examples(found.validation), strict=True)
        ]
        files = {"examples.jsonl": learning.as_examples(found.examples, proxy), "validation.jsonl": validation}
        _attach(row, jobs.make(experiment, stage.key, "search", spec, files))

    def finish(result: dict[str, Any]) -> protocol.Outcome:
        assert row.job is not None
        learning.keep_candidates(row, read_rows(row.job.path / "candidates.jsonl"), result["chosen"])
        model = parent.judge["options"]["model"]
        judge = generative(experiment, model, result["prompts"], result["by_task"])
        row.arguments["feedback"] = sorted({pk for c in row.candidates.filter(chosen=True) for pk in c.feedback.values_list("pk", flat=True)})
        version = _version(experiment, row, stage, parent, judge, weights_digest(taught_path(parent)))
        return {"proxy": version.number, "chosen": result["chosen"], "alignment": result["alignment"], "examples": len(row.arguments["feedback"])}

    return _result(row, f"Trying {plan.search} grading prompts for proxy version {stage.number}.", finish)


def _version(
    experiment: Experiment, row: Stage, stage: protocol.Realign | protocol.Search, parent: ProxyVersion, judge: dict[str, Any], weights: str
) -> ProxyVersion:
    """The proxy version that the stage made, with what it rests on."""
    made = {"job": row.job, "parent": parent, "method": experiment.plan.protocol, "step": stage.step, "judge": judge}
    made["digest"] = judge_digest(judge, weights)
    version, new = ProxyVersion.objects.get_or_create(experiment=experiment, number=stage.number, defaults=made)
    if new:
        version.feedback.set(row.arguments["feedback"])
    return version


def _grade(experiment: Experiment, row: Stage, stage: protocol.Grade) -> Progress:
    if row.job is None:
        proxy = experiment.proxies.get(number=stage.number)
        row.arguments["graded_by"] = proxy.digest
        rollouts = asking.sampled(experiment.stages.select_related("job").get(key=f"sample-{stage.step}"), Batch.Purpose.EVAL)
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
        checkpoint = checkpoint_at(experiment, stage.origin)
        spec = {
            "seed": experiment.seed,
            "policy": checkpoint.path,
            "resume_from": checkpoint.trainer_state or None,
            "origin": stage.origin,
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
                "parent": checkpoint_at(experiment, stage.origin),
                "path": saved["path"],
                "trainer_state": saved["trainer_state"],
                "digest": saved["digest"],
            },
        )
        if row.batch is not None and row.batch.closed is None:
            close_batch(row.batch, reason=f"RL reached step {result['step']}.")
        return {"step": result["step"]}

    who = "the expert's own scores" if stage.reward == "expert" else f"proxy version {stage.number}"
    back = "" if stage.origin == stage.start else f" from the checkpoint at step {stage.origin}"
    return _result(row, f"RL from step {stage.start} to {row.arguments['until']}{back}, rewarded by {who}.", finish)


RL_NUMBERS = ("learning_rate", "prompts_per_step", "group", "policy_temperature", "policy_max_tokens", "save_every", "unscored_limit")


def _affordable(experiment: Experiment, row: Stage, stage: protocol.Train) -> int:
    """The step up to which the budgets pay the expert for every rollout, with the look after it; they hold that much for the job."""
    batch, left = experiment.plan.batch, max(0, budget.left(experiment) - experiment.plan.evaluation)
    wanted = min(stage.stop - stage.start, left // batch) * batch
    note = "RL asks the expert itself, about every rollout."
    return stage.start + _held(experiment, row, stage.key, wanted, batch, f"reward from step {stage.start}", note) // batch


def _held(experiment: Experiment, row: Stage, key: str, wanted: int, least: int, title: str, note: str) -> int:
    """How many of `wanted` verdicts the budgets hold for a job that asks the expert itself; its batch is that of the stage. None below `least`."""
    if wanted < least:
        return 0
    row.batch = asking.reward_batch(experiment, key, title, note)
    held = hold_rewards(row.batch, wanted, expected(experiment.expert, experiment.domain, timezone.now()).cost)
    if held < least:
        close_batch(row.batch, reason="The budgets have no room for it.")
        return 0
    return held


def _optimise(experiment: Experiment, row: Stage, stage: protocol.Optimise) -> Progress:
    config, plan = experiment.config, experiment.plan
    if row.job is None:
        left = max(0, budget.left(experiment) - plan.evaluation)
        note = "The prompt is improved by the expert's feedback."
        least = optimise.least(len(config["validation_prompts"]))
        calls = row.arguments["granted"] = _held(experiment, row, stage.key, min(stage.calls, left), least, "prompt optimisation", note)
        if not calls:
            return Progress({"prompt": "", "calls": 0, "step": stage.step})
        checkpoint = checkpoint_at(experiment, 0)
        spec = {
            "seed": derive_seed(experiment.seed, stage.key),
            "policy": checkpoint.path,
            "checkpoint": checkpoint.digest,
            "score_range": [config["format"]["score_min"], config["format"]["score_max"]],
            "generation_prompt": config["generation_prompt"],
            "train": variables(config["train_prompts"]),
            "validation": variables(config["validation_prompts"]),
            "judge": asking.judge(experiment),
            "reflection": config["writers"][writers.GENERATION],
            "calls": calls,
            "sampling": {"temperature": plan.policy_temperature, "max_tokens": plan.policy_max_tokens},
            "content_tag": config["content_tag"],
        }
        _attach(row, jobs.make(experiment, stage.key, "optimise", spec))

    def finish(result: dict[str, Any]) -> protocol.Outcome:
        if row.batch is not None and row.batch.closed is None:
            close_batch(row.batch, reason="The prompt is optimised.")
        return {"prompt": result["prompt"], "calls": result["calls"], "tried": len(result["candidates"]), "step": stage.step}

    return _result(row, f"Improving the prompt by {row.arguments['granted']} of the expert's verdicts.", finish)


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


def prompt_rows(ids: list[int], template: str = "") -> list[dict[str, Any]]:
    """The prompts in the order of `ids`, as jobs get them; asked by another generation prompt where there is a `template`."""
    rows = Prompt.objects.in_bulk(ids)
    return [{"id": i, "text": fill(template, rows[i].variables) if template else rows[i].text} for i in ids]


def variables(ids: list[int]) -> list[dict[str, Any]]:
    """The prompts in the order of `ids`, by their variables."""
    rows = Prompt.objects.in_bulk(ids)
    return [{"id": i, "text": rows[i].text, "variables": rows[i].variables} for i in ids]
