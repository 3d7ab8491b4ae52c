"""The numbers of a plan as the form shows them: label and help of each, and which of them a protocol uses."""

from __future__ import annotations

from training.presets import STRATEGIES
from training.protocol import FINE_TUNED, IN_CONTEXT, PER_PROMPT, SHOWN

WORDS: dict[str, tuple[str, str]] = {
    "steps": ("RL steps", ""),
    "segment": ("Steps between looks", "Then the policy is looked at again."),
    "initial": ("First samples", "Verdicts that teach the proxy before the first RL step."),
    "update": ("Later samples", "Fresh verdicts at each later realignment."),
    "per_task": ("Samples of each prompt", "Verdicts that a prompt's own grading prompt is made from."),
    "calls": ("Expert samples", "Verdicts that the prompt is improved by."),
    "check": ("Samples of a check", "Fresh verdicts after each segment, to see whether expert reward fell."),
    "check_graded": ("Graded at a check", "Rollouts that the proxy grades too, so that fewer verdicts tell as much; 0: only those."),
    "fall": ("Fall that counts", "In standard deviations."),
    "fall_in": ("Deviations of", "Single scores (the paper's), or the difference of two checks' means, which is far smaller."),
    "after_fall": ("After a fall", "Lost steps count all the same."),
    "realignments": ("Realignments at most", ""),
    "stop_after_falls": ("Falls that end the run", "Looks at which expert reward fell; 0: never."),
    "collapse": ("Collapse", "Share of different texts, 0 to 1, below which it ends; 0: never."),
    "pool": ("Pool", "Rollouts that the texts for the expert are chosen from; 0: as many as are asked about."),
    "per_prompt": ("Rollouts of each prompt", "In a pool."),
    "eval_prompts": ("Eval prompts", "At each look; 0: no measuring."),
    "eval_rollouts": ("Rollouts of each eval prompt", ""),
    "repeat_share": ("Hidden repeats", "Share of verdicts, 0 to 0.5: the same judge gets the text again. On top, as far as the budget goes."),
    "gold_share": ("Gold items", "Likewise: texts of the domain whose score is known."),
    "shown": ("Verdicts in a prompt", "How many a grading prompt is written from."),
    "search": ("Prompts tried", "At each realignment, on the validation samples."),
    "keep": ("Prompts kept", "The best of them; they grade together."),
    "validation_prompts": ("Validation prompts", "Train prompts kept out of RL, to try on."),
    "validation_rollouts": ("Rollouts of each validation prompt", ""),
    "proxy_n": ("Traces per rollout", "The mean of their scores is the reward."),
    "proxy_temperature": ("Proxy's temperature", ""),
    "proxy_max_tokens": ("Tokens of a trace", "At most."),
    "variance_grades": ("Traces for choosing", "Per rollout, where the least sure are chosen."),
    "unscored_limit": ("Unscored share", "From 0 to 1: more than this in a step ends the run with a failure."),
    "prompts_per_step": ("Prompts a step", ""),
    "group": ("Group", "Rollouts of each prompt in a step."),
    "learning_rate": ("Policy's learning rate", ""),
    "policy_temperature": ("Policy's temperature", ""),
    "policy_max_tokens": ("Tokens of a text", "At most."),
    "save_every": ("Steps between checkpoints", "What a resumed run may have to repeat."),
    "epochs": ("Passes at first", "Over the first samples."),
    "update_epochs": ("Passes at updates", ""),
    "replay": ("Replay", "Earlier verdicts mixed into an update."),
    "distil_learning_rate": ("Proxy's learning rate", ""),
    "distil_batch": ("Sequences a batch", ""),
    "lora": ("Rank of a LoRA", "0: all parameters learn."),
    "traces_per_text": ("Traces of a text", "At most, that are learnt from."),
    "tries_per_text": ("Traces written", "To find them: those that give their source away are dropped."),
    "probes": ("Probes", "How often alignment is measured while the proxy learns; 0: never."),
}
CHOICES = {
    "strategy": STRATEGIES,
    "fall_in": [("scores", "single scores"), ("means", "the two means' difference")],
    "after_fall": [("roll-back", "back to the last good checkpoint"), ("keep", "go on from where it is")],
}
RL = ["prompts_per_step", "group", "learning_rate", "policy_temperature", "policy_max_tokens", "save_every"]
GRADING = ["proxy_n", "proxy_temperature", "proxy_max_tokens", "variance_grades", "unscored_limit"]
DISTILLATION = ["epochs", "update_epochs", "replay", "distil_learning_rate", "distil_batch", "lora", "probes"]
LOOKS = ["eval_prompts", "eval_rollouts", "repeat_share", "gold_share"]
POOL = ["pool", "per_prompt"]
PROMPTS = ["shown", "search", "keep", "validation_prompts", "validation_rollouts"]


def main_of(protocol: str) -> list[str]:
    """The numbers that matter most."""
    own = {"ceiling": ["collapse"], "weak-proxy": ["stop_after_falls"], "prompt-optimisation": ["calls"]}
    if protocol in FINE_TUNED:
        return ["steps", "segment", "initial", "update"]
    if protocol in IN_CONTEXT:
        return ["steps", "segment", "initial", "update", "check", "search"]
    if protocol in PER_PROMPT:
        return ["steps", "segment", "per_task", "realignments"]
    return own[protocol] if protocol == "prompt-optimisation" else ["steps", "segment", *own.get(protocol, [])]


def advanced_of(protocol: str) -> list[tuple[str, list[str]]]:
    """The others that the protocol uses, in groups with their titles."""
    groups = [("Asking and measuring", LOOKS + (POOL if protocol in (*FINE_TUNED, *IN_CONTEXT) else []))]
    if protocol in IN_CONTEXT:
        groups += [("Over-optimisation", ["fall", "fall_in", "after_fall", "realignments", "check_graded"]), ("Prompts from feedback", PROMPTS)]
    if protocol == "prompt-optimisation":
        groups += [("Prompts that it is tried on", ["validation_prompts"]), ("Sampling", ["policy_temperature", "policy_max_tokens"])]
    if protocol not in ("ceiling", "prompt-optimisation"):
        groups.append(("The proxy's grading", GRADING))
    if protocol != "prompt-optimisation":
        groups.append(("RL", RL))
    if protocol in FINE_TUNED:
        groups.append(("Distillation", DISTILLATION + (["traces_per_text", "tries_per_text"] if protocol in SHOWN else [])))
    shown = set(main_of(protocol))
    return [(title, [name for name in names if name not in shown]) for title, names in groups]


PROTOCOLS = {
    "full-trace": ("Full-trace distillation", "Asks the expert now and then, and teaches the proxy their very words before RL goes on."),
    "context-full": ("Context distillation", "The proxy reads the expert's trace, writes its own, and is taught that."),
    "context-feedback": ("Context distillation, feedback only", "Likewise, from the critique alone: the expert need not give scores."),
    "scalar-head": ("Scalar head", "The proxy learns the expert's scores without the words: the comparison that over-optimises first."),
    "rubric": ("Rubric prompts", "A strong model, or you, writes grading prompts from feedback; the best are kept until expert reward falls."),
    "few-shot": ("Few-shot prompts", "The expert's traces stand in the grading prompt as examples."),
    "few-shot-prefilled": ("Few-shot prompts, prefilled", "The expert's traces stand before the request as if the proxy had written them."),
    "per-prompt-rubric": ("A rubric for each prompt", "Every train prompt gets a grading prompt of its own."),
    "per-prompt-few-shot": ("Few-shot for each prompt", "Every train prompt is graded beside its own examples."),
    "ceiling": ("Ceiling", "RL straight on the expert's scores: the high-water mark, at the price of many samples."),
    "weak-proxy": ("Weak proxy", "RL on an untaught proxy, with looks at what the expert thinks: the comparison."),
    "retrain": ("Retraining from scratch", "RL from the start on a proxy version that another experiment made."),
    "prompt-optimisation": ("Prompt optimisation", "No RL: the policy's prompt is improved by the expert's feedback."),
}
# Presets that share their protocol with another.
TITLES = {"pocket-full-trace-small": "Full-trace distillation, fewer samples"}
# The form's groups of protocols: title, what is in it, which. The first is always open.
GROUPS: list[tuple[str, str, tuple[str, ...]]] = [
    ("", "", ("full-trace", "context-full", "context-feedback", *IN_CONTEXT)),
    ("To compare with", "ceiling, weak proxy, scalar head, prompt optimisation", ("ceiling", "weak-proxy", "scalar-head", "prompt-optimisation")),
    ("More methods", "prompts for single tasks, retraining from scratch", (*PER_PROMPT, "retrain")),
]
