"""What is fixed when an experiment starts: the prompts, the domain's wording, the first checkpoint and the first proxy."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from django.conf import settings

from annotation.experts import snapshot
from annotation.models import Domain
from training import writers
from training.choices import eval_prompts, train_prompts, validation_prompts
from training.engine import artifacts
from training.errors import StageFailed
from training.models import Checkpoint, Experiment, ProxyVersion
from training.presets import Plan
from training.serving import served_model

GRADER = "grading.graders.Grader"
SCALAR = "grading.scalar.ScalarJudge"
IN_PROCESS = "grading.models.transformers.TransformersModel"


def freeze(experiment: Experiment) -> dict[str, Any]:
    """The experiment's config with everything it will depend on, as it is now: later edits of the domain do not reach it."""
    plan, domain = experiment.plan, experiment.domain
    kept_out = validation_prompts(domain, plan.validation_prompts)
    return {
        "plan": plan.to_dict(),
        "generation_prompt": domain.generation_prompt,
        "grading_prompt": domain.grading_prompt,
        "rubric_prompt": domain.rubric_prompt,
        "context_prompt": domain.context_prompt,
        "content_tag": domain.content_tag,
        "format": trace_format(domain),
        "expert": snapshot(experiment.expert),
        "eval_prompts": eval_prompts(domain, plan.eval_prompts),
        "train_prompts": train_prompts(domain, experiment.seed, kept_out),
        "validation_prompts": kept_out,
        "writers": writers.frozen(experiment),
    }


def set_up(experiment: Experiment) -> None:
    """The policy's checkpoint at step 0, and proxy version 1: the one taken over, else the domain's own grading prompt on the proxy's model."""
    Checkpoint.objects.create(experiment=experiment, step=0, path=experiment.policy, digest=weights_digest(experiment.policy))
    if taken := experiment.proxy_version:
        made = {"method": taken.method, "judge": taken.judge, "digest": taken.digest, "parent": taken}
    else:
        path = experiment.proxy or experiment.policy
        judge = generative(experiment, writing_model(experiment, 1, {"path": path}), [experiment.config["grading_prompt"]])
        made = {"method": "baseline", "judge": judge, "digest": judge_digest(judge, weights_digest(path))}
    ProxyVersion.objects.create(experiment=experiment, number=1, **made)


def in_process(path: str) -> dict[str, Any]:
    """The model in folder `path` as what a grader loads."""
    return {"backend": IN_PROCESS, "options": {"path": path}}


def writing_model(experiment: Experiment, number: int, made: dict[str, str]) -> dict[str, Any]:
    """The language model of proxy `number`, a job's `made` (path, digest, adapter), as what a grader loads.

    On the vLLM of settings.VLLM_PROXY_URL where there is one, which holds the model that the proxy started from, and its adapters; else in process.
    """
    base = experiment.proxy or experiment.policy
    if not settings.VLLM_PROXY_URL or (made["path"] != base and not made.get("adapter")):
        return in_process(made["path"])
    if made["path"] == base:
        return served_model(base)
    return served_model(base, made["adapter"], f"{experiment.name}-v{number}-{made['digest'][:12]}")


def generative(experiment: Experiment, model: dict[str, Any], prompts: list[Any], by_task: dict[str, Any] | None = None) -> dict[str, Any]:
    """A proxy that writes traces, as what a reward process loads: grading prompts, the model, and how it samples."""
    plan: Plan = experiment.plan
    return {
        "backend": GRADER,
        "options": {
            "prompts": prompts,
            **({"by_task": by_task} if by_task else {}),
            "model": model,
            "n": plan.proxy_n,
            "sampling": {"temperature": plan.proxy_temperature, "max_tokens": plan.proxy_max_tokens},
            "format": experiment.config["format"],
        },
    }


def scalar(experiment: Experiment, path: str) -> dict[str, Any]:
    """A proxy that gives scores alone."""
    options = {"prompt": experiment.config["grading_prompt"], "model": {"path": path}, "format": experiment.config["format"]}
    return {"backend": SCALAR, "options": options}


def judge_path(proxy: ProxyVersion) -> str:
    """The model folder of a proxy made here; of one that is served as an adapter, the folder below it."""
    model = proxy.judge["options"]["model"]
    path: str = model["options"]["path"] if "options" in model else model["path"]
    return path


def served_adapter(proxy: ProxyVersion) -> str:
    """The adapter folder of a proxy that a server holds as one; empty for all others."""
    adapter: str = proxy.judge["options"]["model"].get("options", {}).get("adapter", "")
    return adapter


def taught_path(proxy: ProxyVersion) -> str:
    """The folder of the proxy's own weights, which fine-tuning goes on from: with its adapter merged in, where a server holds that apart."""
    if served_adapter(proxy) and proxy.job is not None:
        merged: str = proxy.job.result["model"]["path"]
        return merged
    return judge_path(proxy)


def judge_digest(judge: dict[str, Any], weights: str) -> str:
    """SHA-256 over weights, prompts and sampling; where the weights lie does not matter."""
    options = {key: value for key, value in judge["options"].items() if key != "model"}
    return hashlib.sha256(json.dumps([judge["backend"], weights, options], sort_keys=True).encode()).hexdigest()


def trace_format(domain: Domain) -> dict[str, Any]:
    fmt = domain.trace_format
    return {name: getattr(fmt, name) for name in ("critique_tag", "deliberation_tag", "score_tag", "score_min", "score_max")}


def weights_digest(path: str) -> str:
    """The digest of a model folder's weights, as jobs report it. Raises `StageFailed` where they cannot be read."""
    try:
        return artifacts.digest(Path(path))
    except (OSError, ValueError) as exc:
        raise StageFailed(f"The weights in {path} cannot be read: {exc}.", "Put the model folder back, then start again.") from exc
