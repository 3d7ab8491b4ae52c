import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from grading import backends
from grading.types import Case
from tests.training import toy
from training.engine.job import Job, main

FIELDS = {"policy": str, "resume_from": (str, type(None)), "start": int, "stop": int, "prompts": list, "reward": dict, "plan": dict}


def run(job: Job) -> dict[str, Any]:
    """A checkpoint every `save_every` steps; steps after the last one are lost by a kill and done again."""
    saved = job.folder / "checkpoints"
    saved.mkdir(exist_ok=True)
    step = max((int(path.name) for path in saved.iterdir()), default=job["start"])
    skill = toy.load_skill(str(saved / str(step)) if step > job["start"] else job["policy"])
    lines, metrics = job.lines("rollouts.jsonl"), job.lines("metrics.jsonl")
    while step < job["stop"]:
        if job.stopping:
            keep(saved, step, skill)
            return {"status": "stopped", "step": step}
        toy.pause(job)
        step, skill = step + 1, skill + 1
        rows = judged(job, step, skill)
        lines.append(*rows)
        reward = sum(row["reward"] or 0 for row in rows) / len(rows)
        metrics.append({"step": step, "done": step - job["start"], "total": job["stop"] - job["start"], "reward": reward, "unscored_rate": 0.0})
        if step % job["plan"]["save_every"] == 0:
            keep(saved, step, skill)
    policy, state = job.folder / "policy", job.folder / "state"
    digest = toy.save_model(policy, skill)
    state.mkdir(exist_ok=True)
    (state / "state.json").write_text(json.dumps({"step": step}))
    return {"status": "done", "step": step, "checkpoint": {"path": str(policy), "trainer_state": str(state), "digest": digest}}


def keep(saved: Path, step: int, skill: int) -> None:
    """Whole or not at all: a kill may come at any moment."""
    if not (saved / str(step)).exists():
        toy.save_model(scratch := saved.parent / f"scratch-{step}", skill)
        scratch.rename(saved / str(step))


def judged(job: Job, step: int, skill: int) -> list[dict[str, Any]]:
    plan, prompts, reward = job["plan"], job["prompts"], job["reward"]
    chosen = [prompts[(step * plan["prompts_per_step"] + i) % len(prompts)] for i in range(plan["prompts_per_step"])]
    rows = [toy.rollout(job, "rl", step, prompt, index, skill) for prompt in chosen for index in range(plan["group"])]
    if reward["who"] == "expert":
        texts = {prompt["id"]: prompt["text"] for prompt in chosen}
        judge = backends.load(reward["judge"])
        for row, verdict in zip(rows, asyncio.run(judge.grade([Case(texts[row["prompt"]], row["content"]) for row in rows])), strict=True):
            fields = ("score", "critique", "deliberation", "raw", "unscored_reason")
            row |= {"verdict": {name: getattr(verdict, name) for name in fields}, "reward": verdict.score}
        return rows
    for row in rows:
        row["grades"] = toy.grades(job.seed, toy.judge_skill(reward["judge"]), row["content"], reward["judge"]["options"].get("n", 1))
        row["reward"] = row["grades"][0]["score"]
    return rows


if __name__ == "__main__":
    sys.exit(main("rl", FIELDS, {"content_tag": "", "origin": None, "device_batch": None, "vllm": None}, run))
