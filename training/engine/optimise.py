"""Reflective optimisation of the task prompt on the expert's feedback, by GEPA: `python -m training.engine.optimise FOLDER`.

The baseline in which no weight moves (paper, section 2.3). GEPA's own state is not kept: a job that goes on begins anew, with all randomness
from the seed, and finds every verdict and every proposal of before in its files, so it comes by the same way to where it stood.
"""

from __future__ import annotations

import sys
from typing import Any

from grading.errors import ConfigurationError
from grading.models.base import LanguageModel
from grading.prompts import fill
from training.engine.faults import JobError
from training.engine.job import Fields, Job, derive, main, section
from training.engine.models import check_folder, prepare
from training.engine.serve import writing

NUMBER = (int, float)
FIELDS: Fields = {
    "policy": (str, dict),  # a model folder, or a language model's config
    "generation_prompt": str,
    "train": list,
    "validation": list,
    "judge": dict,
    "reflection": dict,
    "calls": int,
    "sampling": dict,
}
OPTIONAL: dict[str, Any] = {"checkpoint": "", "content_tag": "", "score_range": [0, 100], "reflection_tokens": 8192, "serve": None}
MINIBATCH = 3  # tasks that a proposal is made from and tried on first: what GEPA takes by default


def run(job: Job) -> dict[str, Any]:
    """Propose, try and keep prompts until the verdicts left are too few to try another; the best one on the validation tasks is in the result.

    Scores in the result are means over the validation tasks in the expert's points, where a text without a score counts as the worst.
    """
    check(job)
    prepare()
    with writing(job, job["policy"]) as policy:
        return _optimise(job, policy)


def _optimise(job: Job, policy: LanguageModel) -> dict[str, Any]:
    if job.stopping:  # perhaps while its vLLM was starting
        return {"status": "stopped", "calls": 0}
    import gepa

    from training.engine.reflective import PROMPT, PromptAdapter, Reflection, reflection_template

    adapter, reflection = PromptAdapter(job, policy), Reflection(job)

    def spent() -> bool:
        return adapter.asked + round_cost(len(job["validation"])) > job["calls"]

    best = gepa.optimize(
        seed_candidate={PROMPT: job["generation_prompt"]},
        trainset=job["train"],
        valset=job["validation"],
        adapter=adapter,
        reflection_lm=reflection,
        reflection_minibatch_size=MINIBATCH,
        reflection_prompt_template=reflection_template(job["generation_prompt"]),
        stop_callbacks=lambda state: reflection.failure is not None or job.stopping or spent(),
        track_best_outputs=False,
        seed=derive(job.seed, "gepa"),
    )
    if reflection.failure is not None:
        raise reflection.failure
    if not spent():
        return {"status": "stopped", "calls": len(adapter.known)}
    low, high = job["score_range"]
    scores = [low + score * (high - low) for score in best.val_aggregate_scores]
    candidates = [{"prompt": candidate[PROMPT], "score": score} for candidate, score in zip(best.candidates, scores, strict=True)]
    return {"status": "done", "prompt": candidates[best.best_idx]["prompt"], "calls": len(adapter.known), "candidates": candidates}


def round_cost(validation: int) -> int:
    """Verdicts that a round of GEPA takes at most: old and new prompt on a minibatch, then the new one on the `validation` tasks."""
    return 2 * MINIBATCH + validation


def least(validation: int) -> int:
    """Verdicts without which no other prompt can be tried: the prompt as it is on the `validation` tasks, and a round."""
    return validation + round_cost(validation)


def check(job: Job) -> None:
    """Raises `JobError` for a job that could not end well."""
    if isinstance(job["policy"], str):
        check_folder(job["policy"], "policy")
    section(job, "sampling", {"temperature": NUMBER, "max_tokens": int})
    for key in ("train", "validation"):
        if not job[key]:
            raise JobError(f"{key} holds no tasks", "Give at least one.")
        for task in job[key]:
            if not {"id", "text", "variables"} <= set(task):
                raise JobError(f"{key}: a task lacks id, text or variables: {task!r}"[:300], "Give every task all three; the expert reads its text.")
            try:
                fill(job["generation_prompt"], task["variables"])
            except ConfigurationError as exc:
                raise JobError(f"{key}, task {task['id']}: {exc}", "Give each task a value for every placeholder.") from exc
    if not job["score_range"][0] < job["score_range"][1]:
        raise JobError(f"score_range: {job['score_range']} is no range", "Give the lowest score and the highest.")
    tasks = len(job["validation"])
    if job["calls"] < least(tasks):
        raise JobError(
            f"{job['calls']} verdicts are too few: {tasks} judge the prompt as it is, and trying another takes up to {round_cost(tasks)}",
            f"Give {least(tasks)} or more, or fewer validation tasks.",
        )


if __name__ == "__main__":
    sys.exit(main("optimise", FIELDS, OPTIONAL, run))
