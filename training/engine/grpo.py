"""How a job becomes a GRPO trainer: its settings, and which prompts each step takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Dataset
from trl import GRPOConfig
from trl.import_utils import is_vllm_available

from grading.models.transformers import Loaded
from training.engine.artifacts import Saved
from training.engine.faults import JobError
from training.engine.job import Fields, Job, derive, section
from training.engine.models import messages, training_options
from training.engine.policy import PolicyTrainer
from training.engine.reward import Report, Reward
from training.engine.steps import Steps

VLLM: Fields = {"base_url": str}
VLLM_OPTIONAL = {
    "timeout": 600.0,  # seconds to wait for the server
    "group_port": 51216,  # of the connection that the weights go over
    "clip": 3.0,  # most that a token counts for, by how much likelier it is here than there
}


def assemble(job: Job, loaded: Loaded, resume: Saved | None) -> tuple[PolicyTrainer, Steps]:
    """The trainer with our reward, and what happens around its steps."""
    offset = resume.offset if resume else job["start"]
    reward = Reward(job, resume.step if resume else job["start"], offset, loaded.stops)
    rows = dataset(job, loaded, offset)
    trainer = PolicyTrainer(
        model=loaded.model,
        reward_funcs=reward,
        args=config(job, job["stop"] - offset),
        train_dataset=rows,
        processing_class=loaded.tokenizer,
    )
    trainer.draw_seed, trainer.step_offset = derive(job.seed, "draws"), offset
    return trainer, Steps(job, job["plan"]["save_every"], Report(job, reward), offset=offset)


def order(seed: int, prompts: int, each: int, steps: int) -> np.ndarray:
    """Which prompts each step takes: shape (steps, each). All prompts (but for a remainder) come once before any comes again.

    A function of seed and step alone, so that every segment and every resumed run sees the same.
    """
    epoch = prompts // each
    rounds = [np.random.default_rng([seed, number]).permutation(prompts)[: epoch * each].reshape(epoch, each) for number in range(-(-steps // epoch))]
    return np.concatenate(rounds)[:steps]


def dataset(job: Job, loaded: Loaded, offset: int) -> Dataset:
    """One row for each prompt of each step that the trainer counts, in order."""
    rows = order(derive(job.seed, "order"), len(job["prompts"]), job["plan"]["prompts_per_step"], job["stop"])[offset:].ravel().tolist()
    turns = [messages(loaded, "user", prompt["text"]) for prompt in job["prompts"]]
    longest = max(map(len, loaded.tokenizer.apply_chat_template(turns, tokenize=True, add_generation_prompt=True)["input_ids"]))
    if longest >= loaded.positions:
        raise JobError(f"a prompt has {longest} tokens and the policy knows no more than {loaded.positions}", "Shorten the prompts.")
    return Dataset.from_dict({"prompt": [turns[row] for row in rows], "row": rows})


def config(job: Job, stop: int) -> GRPOConfig:
    plan, world = job["plan"], job.world
    whole = plan["prompts_per_step"] * plan["group"]
    batch = job["device_batch"] or whole // world
    if whole % (batch * world) or (whole // world) % plan["group"]:
        raise JobError(
            f"{whole} rollouts a step do not divide into {world} processes of {batch} rollouts a pass with whole groups of {plan['group']}",
            "Choose prompts_per_step and device_batch to fit.",
        )
    return GRPOConfig(
        **training_options(job.partial, derive(job.seed, "trainer")),
        max_steps=stop,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=whole // (batch * world),
        steps_per_generation=whole // (batch * world),
        num_generations=plan["group"],
        max_completion_length=plan["policy_max_tokens"],
        temperature=plan["policy_temperature"],
        top_p=1.0,
        top_k=0,
        loss_type="dapo",
        scale_rewards="group",
        num_iterations=1,
        beta=0.0,
        epsilon=0.2,
        learning_rate=plan["learning_rate"],
        lr_scheduler_type="constant",
        warmup_steps=0,
        max_grad_norm=1.0,
        shuffle_dataset=False,
        disable_dropout=True,
        log_completions=False,
        **serving(job),
    )


def serving(job: Job) -> dict[str, Any]:
    """TRL's options where a vLLM server writes the rollouts. TRL keeps the server's weights those of the policy, and allows for its rounding.

    Truncated token by token: TRL's default, by whole sequences, gives up the long ones.
    """
    if job["vllm"] is None:
        return {}
    vllm = section(job, "vllm", VLLM, VLLM_OPTIONAL)
    if not is_vllm_available():
        raise JobError(
            "a vLLM server is to write the rollouts, and there is no vllm in the environment of training jobs, whose client TRL uses",
            "Install the vllm there that this TRL takes (docs/guide-operators.md), or leave the server out.",
        )
    return {
        "use_vllm": True,
        "vllm_mode": "server",
        "vllm_server_base_url": vllm["base_url"],
        "vllm_server_timeout": vllm["timeout"],
        "vllm_group_port": vllm["group_port"],
        "vllm_importance_sampling_correction": True,
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_max": vllm["clip"],
    }
