"""What a tiny model can do: `python -m training.pocket.evaluate FOLDER [--prompts N] [--seed S]` prints its measurements as JSON.

Stories are judged by the expert without noise. Alignment is the correlation, within a prompt, of the expert's scores and those that the model writes
under a rubric that it is shown, averaged over prompts; it is given for several ways to sample the grader. "context" is how far the scores follow the
expert's words where those are shown beside the weak rubric, and how many of the traces say so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from grading.graders import Grader
from grading.models.transformers import TransformersModel
from grading.parsing import parse_trace
from grading.prompts import GradingPrompt
from grading.realign import context
from grading.types import Case, Message, Sampling, TraceFormat
from training.pocket.expert import CRITERIA, RUBRICS, WEAK, PocketExpert, verdict
from training.pocket.language import StoryPrompt, prompts, read_story
from training.pocket.prompts import CONTEXT_PROMPT, grading_prompt

STORY_TOKENS = 80
TRACE_TOKENS = 96
SAMPLINGS = {"T=1.0 n=1": (1.0, 1), "T=1.0 n=2": (1.0, 2), "T=0.7 n=1": (0.7, 1), "T=0.7 n=2": (0.7, 2), "greedy": (0.0, 1)}


def write(model: TransformersModel, tasks: Sequence[StoryPrompt], per_prompt: int, seed: int) -> list[Case]:
    """`per_prompt` stories for each task, one after the other; a story that runs out of tokens is cut there."""
    requests = [[Message("user", task.instructions)] for task in tasks]
    answers = asyncio.run(model.generate(requests, Sampling(temperature=1.0, max_tokens=STORY_TOKENS, n=per_prompt), seed=seed))
    return [Case(task.instructions, c.text) for task, completions in zip(tasks, answers, strict=True) for c in completions]


def scores(model: TransformersModel, prompt: str, cases: Sequence[Case], *, temperature: float, n: int, seed: int) -> NDArray[np.float64]:
    """The mean score of `n` traces for each case; nan where none is well formed."""
    grader = Grader([prompt], model, n=n, sampling={"temperature": temperature, "max_tokens": TRACE_TOKENS})
    return np.array([np.nan if v.score is None else v.score for v in asyncio.run(grader.grade(cases, seed=seed))])


def within_prompt_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean over rows of their correlation; entries with nan and rows without variance are left out, and nan where nothing is left."""
    found = []
    for x, y in zip(a, b, strict=True):
        ok = ~(np.isnan(x) | np.isnan(y))
        if ok.sum() > 1 and x[ok].std() > 0 and y[ok].std() > 0:
            found.append(np.corrcoef(x[ok], y[ok])[0, 1])
    return float(np.mean(found)) if found else float("nan")


def judge(cases: Sequence[Case], per_prompt: int) -> dict[str, NDArray[np.float64]]:
    """The noise-free score of each case under each rubric of the expert, a row for each prompt."""
    return {name: np.array([verdict(rubric, c).score for c in cases], dtype=float).reshape(-1, per_prompt) for name, rubric in RUBRICS.items()}


def measure(folder: Path, *, prompts_each: int = 60, per_prompt: int = 8, seed: int = 0) -> dict[str, Any]:
    """Reward, finished share and use of the topic (0..1) on unseen and seen prompts; alignment by rubric and sampling on the unseen ones."""
    model = TransformersModel(folder)
    measured: dict[str, Any] = {}
    for split in ("train", "eval"):
        tasks = [p for p in prompts() if p.split == split][:prompts_each]
        cases = write(model, tasks, per_prompt, seed)
        readings = [(read_story(c.content), read_story(c.instructions)) for c in cases]
        measured[split] = {
            "reward": {name: round(float(s.mean()), 1) for name, s in judge(cases, per_prompt).items()},
            "finished": round(float(np.mean([story.finished for story, _ in readings])), 3),
            "unique": round(len({c.content for c in cases}) / len(cases), 3),
            "criteria": {name: round(float(np.mean([find(*r).level for r in readings])), 2) for name, find in CRITERIA.items()},
        }
        if split == "eval":
            measured["alignment"] = _alignment(model, cases, per_prompt, seed)
            measured["context"] = {show: _context(model, cases, per_prompt, show, seed) for show in (context.FULL, context.FEEDBACK)}
    return measured


def _alignment(model: TransformersModel, cases: Sequence[Case], per_prompt: int, seed: int) -> dict[str, Any]:
    truth = judge(cases, per_prompt)
    found: dict[str, Any] = {"of the weak rubric itself": _rounded(within_prompt_correlation(truth["hidden"], truth["weak"]), 2)}
    for name, rubric in RUBRICS.items():
        for label, (temperature, n) in SAMPLINGS.items():
            given = scores(model, grading_prompt(rubric), cases, temperature=temperature, n=n, seed=seed).reshape(-1, per_prompt)
            scored = float(np.mean(~np.isnan(given)))
            found[f"{name} rubric shown, {label}"] = {
                "with the expert": _rounded(within_prompt_correlation(truth["hidden"], given), 2),
                "with the rubric shown": _rounded(within_prompt_correlation(truth[name], given), 2),
                "error": _rounded(float(np.mean(np.abs(truth[name] - given)[~np.isnan(given)] if scored else np.nan)), 1),
                "scored": round(scored, 3),
            }
    return found


def _context(model: TransformersModel, cases: Sequence[Case], per_prompt: int, show: str, seed: int) -> dict[str, Any]:
    """One trace at T=1 for each case, the weak rubric and what the noisy expert says of it being shown."""
    fmt, weak = TraceFormat(), GradingPrompt(grading_prompt(WEAK))
    said = [PocketExpert().verdict(case) for case in cases]
    words = [context.words(v.critique, v.deliberation, v.score, fmt, show) for v in said]
    requests = [[Message("user", context.request(CONTEXT_PROMPT, weak.render(c, fmt), w))] for c, w in zip(cases, words, strict=True)]
    answers = asyncio.run(model.generate(requests, Sampling(temperature=1.0, max_tokens=TRACE_TOKENS), seed=seed))
    traces = [parse_trace(a.text, fmt, finished=a.finished) for (a,) in answers]
    given = np.array([np.nan if t.score is None else t.score for t in traces])
    expert = np.array([v.score for v in said], dtype=float)
    scored = float(np.mean(~np.isnan(given)))
    return {
        "with the words shown": _rounded(within_prompt_correlation(expert.reshape(-1, per_prompt), given.reshape(-1, per_prompt)), 3),
        "error": _rounded(float(np.mean(np.abs(expert - given)[~np.isnan(given)] if scored else np.nan)), 1),
        "scored": round(scored, 3),
        "leaks": round(float(np.mean([bool(context.leak(t.raw, c)) for t, c in zip(traces, cases, strict=True)])), 3),
    }


def _rounded(value: float, digits: int) -> float | None:
    return None if np.isnan(value) else round(value, digits)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure what a tiny model can do.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=60, help="prompts of each split, 8 stories for each")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(json.dumps(measure(args.folder, prompts_each=args.prompts, seed=args.seed), indent=2))


if __name__ == "__main__":
    main()
