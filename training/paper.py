"""The paper's own numbers as plans (Ye & Benton 2026), with the sections that they come from: Qwen3-8B on creative writing, and what was done with
Haiku 4.5 on research plans.

The second was fine-tuned by its provider, in numbers that mean nothing here: the learning rates are those of Qwen3-8B. Where the paper gives no
number, a comment says what ours rests on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from training.presets import PRESETS, Plan

# Appendix A.1
WRITING = Plan(
    "full-trace",
    steps=2000,
    segment=500,
    prompts_per_step=8,
    group=8,
    learning_rate=7e-7,
    policy_temperature=1.0,
    policy_max_tokens=5000,
    proxy_n=6,
    proxy_temperature=1.0,
    proxy_max_tokens=8000,  # ours: with what it thinks before; few-shot prompts and 16,000, as in A.2, would fill all that it can read
    epochs=3,
    update_epochs=3,
    distil_learning_rate=1e-5,
    distil_batch=16,
    replay=0,  # each fine-tuning is on fresh feedback (section 4)
    variance_grades=10,  # section 3.4
    save_every=50,  # ours
    eval_prompts=150,
    eval_rollouts=1,  # ours: looks are not counted among the samples
)
# Appendix A.2
RESEARCH = replace(
    WRITING, steps=750, segment=250, prompts_per_step=16, policy_max_tokens=3000, proxy_n=3, proxy_max_tokens=16_000, eval_prompts=60, eval_rollouts=2
)

# Section 4.1. Samples are spread over all 500 prompts at the start. Four iterations: with their samples the numbers of figure 2 come out.
# How alignment goes while the proxy learns is appendix B.1; how often one looks is ours.
HEAVY = replace(WRITING, steps=3200, segment=800, initial=20_000, update=10_000, per_prompt=40, probes=8)
LIGHT = replace(WRITING, initial=9_000, update=4_500, per_prompt=18, probes=8)
ULTRA_LIGHT = replace(WRITING, initial=3_000, update=1_500, per_prompt=6, epochs=9, update_epochs=9, probes=8)
# Section 4.2
CONTEXT = replace(ULTRA_LIGHT, epochs=3, update_epochs=3, traces_per_text=3)

# Section 3: M = 50 x 16, n_search = 20, k = 3, S = 50, n_check = 100, chosen from a pool of about 100 (3.4), realigned four times (3.1).
# The steps are ours: more than figure 5 shows.
SEARCHED: dict[str, Any] = {
    "segment": 50,
    "search": 20,
    "keep": 3,
    "check": 100,
    "pool": 100,
    "validation_prompts": 50,
    "validation_rollouts": 16,
    "fall": 1.0,
    "fall_in": "scores",
    "after_fall": "roll-back",
    "realignments": 4,
}
RUBRIC = replace(WRITING, protocol="rubric", steps=1000, **(SEARCHED | {"shown": 10, "initial": 10, "update": 10}))
FEW_SHOT = replace(WRITING, protocol="few-shot", steps=1000, **(SEARCHED | {"shown": 5, "initial": 5, "update": 5}))
# Section 3.3: four iterations, neither searched nor checked; figure 5 shows a renewal about every 200 steps.
PER_PROMPT = replace(WRITING, protocol="per-prompt-rubric", steps=800, segment=200, realignments=4)

PAPER: dict[str, Plan] = {
    # Section 2.3. 2,400 steps are 153,600 samples: of the order of 1e5, and 50 times what rubrics used. Where it collapses is cut off.
    "qwen3-8b-ceiling": replace(WRITING, protocol="ceiling", steps=2400, segment=100, collapse=0.5),
    "qwen3-8b-weak-proxy": replace(WRITING, protocol="weak-proxy", steps=1000, segment=50, stop_after_falls=1),
    "qwen3-8b-prompt-optimisation": replace(WRITING, protocol="prompt-optimisation", steps=1, segment=1, calls=1000, validation_prompts=50),
    "qwen3-8b-heavy": HEAVY,
    "qwen3-8b-light": LIGHT,
    "qwen3-8b-ultra-light": ULTRA_LIGHT,
    "qwen3-8b-context-full": replace(CONTEXT, protocol="context-full"),
    "qwen3-8b-context-feedback": replace(CONTEXT, protocol="context-feedback"),
    "qwen3-8b-scalar-head": replace(HEAVY, protocol="scalar-head"),  # section 4.3: the samples of heavy
    "qwen3-8b-retrain": replace(WRITING, protocol="retrain"),  # appendix B.2
    "qwen3-8b-rubric": RUBRIC,
    "qwen3-8b-few-shot": FEW_SHOT,
    "qwen3-8b-few-shot-prefilled": replace(FEW_SHOT, protocol="few-shot-prefilled"),
    **{
        f"qwen3-8b-{protocol}-{samples}": replace(PER_PROMPT, protocol=protocol, per_task=samples)
        for protocol in ("per-prompt-rubric", "per-prompt-few-shot")
        for samples in (2, 4, 6)
    },
    # Sections 4.1 and 3; samples are spread over about 300 prompts.
    "research-heavy": replace(RESEARCH, initial=6_000, update=3_000, per_prompt=20),
    "research-light": replace(RESEARCH, initial=3_000, update=1_500, per_prompt=10),
    "research-rubric": replace(
        RESEARCH,
        protocol="rubric",
        steps=1000,
        **(SEARCHED | {"shown": 10, "initial": 10, "update": 10, "search": 10, "realignments": 3, "validation_prompts": 60}),
    ),
}

EVERY = PRESETS | PAPER  # by name
