"""RL of a policy on a judge's reward, by TRL's GRPO: `python -m training.engine.rl FOLDER`, or the same under `accelerate launch`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.engine.artifacts import Saved, export, newest, read
from training.engine.faults import JobError
from training.engine.job import Fields, Job, main, section
from training.engine.models import load_model, prepare

NUMBER = (int, float)
FIELDS: Fields = {"policy": str, "resume_from": (str, type(None)), "start": int, "stop": int, "prompts": list, "reward": dict, "plan": dict}
OPTIONAL = {
    "content_tag": "",
    "device_batch": None,  # rollouts in one pass of a device, where a whole step does not fit
    "origin": None,  # the step of resume_from, where that is not start
    "vllm": None,  # {"base_url", ...} of a server that writes the rollouts
}
PLAN: Fields = {
    "learning_rate": NUMBER,
    "prompts_per_step": int,
    "group": int,
    "policy_temperature": NUMBER,
    "policy_max_tokens": int,
    "save_every": int,
    "unscored_limit": NUMBER,
}


def run(job: Job) -> dict[str, Any]:
    """Train from step `start` to step `stop`; the policy is in FOLDER/policy then."""
    check(job)
    resume = newest(job.folder / "checkpoints") or before(job)
    if job.stopping and job.world == 1:  # several stop together, between steps
        return {"status": "stopped", "step": resume.step if resume else job["start"]}
    prepare()
    loaded = load_model(job["policy"], "policy")
    from training.engine.grpo import assemble
    from training.engine.steps import save_now, train

    trainer, steps = assemble(job, loaded, resume)
    try:
        train(trainer, steps, resume)
    except JobError:
        save_now(trainer, steps)
        raise
    saved = steps.newest or resume
    assert saved is not None
    if saved.step < job["stop"]:
        return {"status": "stopped", "step": saved.step, "checkpoint": saved.as_result()}
    policy = job.folder / "policy"
    if job.rank == 0:
        export(saved, job.partial / "policy", policy)
    return {"status": "done", "step": saved.step, "checkpoint": saved.as_result(policy)}


def check(job: Job) -> None:
    """Raises `JobError` for numbers that make no sense together."""
    plan = section(job, "plan", PLAN)
    section(job, "reward", {"who": str, "judge": dict})
    if job["reward"]["who"] not in ("proxy", "expert"):
        raise JobError(f"reward: who is {job['reward']['who']!r}", "Say proxy or expert.")
    if not 0 <= job["start"] < job["stop"]:
        raise JobError(f"there is no step to do from start {job['start']} to stop {job['stop']}", "stop must be above start.")
    if len(job["prompts"]) < plan["prompts_per_step"]:
        raise JobError(
            f"a step takes {plan['prompts_per_step']} different prompts and the job has {len(job['prompts'])}",
            "Import more train prompts or lower prompts_per_step.",
        )
    if plan["group"] < 2 or min(plan["prompts_per_step"], plan["save_every"], plan["policy_max_tokens"]) < 1:
        raise JobError("the plan needs a group of 2 or more, and prompts_per_step, save_every and policy_max_tokens of 1 or more", "Correct it.")


def before(job: Job) -> Saved | None:
    """The checkpoint that the job goes on from, weights and optimizer; None: a fresh optimizer on the policy's weights."""
    if job["resume_from"] is None:
        return None
    saved = read(Path(job["resume_from"]))
    if saved is None:
        raise JobError(f"resume_from: {job['resume_from']} is no whole checkpoint", "Give the trainer_state of an RL job that ended.")
    origin = job["start"] if job["origin"] is None else job["origin"]
    if saved.step != origin:
        raise JobError(f"resume_from stands at step {saved.step}, and step {origin} was expected", "Give the checkpoint of that step.")
    # After a roll-back the steps that were lost count all the same: the trainer did not do them.
    return replace(saved, step=job["start"], offset=saved.offset + job["start"] - saved.step)


if __name__ == "__main__":
    sys.exit(main("rl", FIELDS, OPTIONAL, run))
