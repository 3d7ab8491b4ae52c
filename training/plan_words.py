"""The numbers of a plan as the form shows them: label and help of each, in groups."""

from __future__ import annotations

WORDS: dict[str, tuple[str, str]] = {
    "steps": ("RL steps", ""),
    "segment": ("Steps between looks", "Then the policy is looked at again."),
    "initial": ("First samples", "Verdicts that teach the proxy before the first RL step."),
    "update": ("Later samples", "Fresh verdicts at each later realignment."),
    "pool": ("Pool", "Rollouts that the texts for the expert are chosen from; 0: as many as are asked about."),
    "per_prompt": ("Rollouts of each prompt", "In a pool."),
    "eval_prompts": ("Eval prompts", "At each look; 0: no measuring."),
    "eval_rollouts": ("Rollouts of each eval prompt", ""),
    "repeat_share": ("Hidden repeats", "Share of verdicts, 0 to 0.5: the same judge gets the text again. On top, as far as the budget goes."),
    "gold_share": ("Gold items", "Likewise: texts of the domain whose score is known."),
    "stop_after_falls": ("Falls that end the run", "Weak proxy: looks at which expert reward fell; 0: never."),
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
}
MAIN = ["steps", "segment", "initial", "update"]
ADVANCED: list[tuple[str, list[str]]] = [
    ("Asking and measuring", ["pool", "per_prompt", "eval_prompts", "eval_rollouts", "stop_after_falls", "repeat_share", "gold_share"]),
    ("The proxy's grading", ["proxy_n", "proxy_temperature", "proxy_max_tokens", "variance_grades", "unscored_limit"]),
    ("RL", ["prompts_per_step", "group", "learning_rate", "policy_temperature", "policy_max_tokens", "save_every"]),
    ("Distillation", ["epochs", "update_epochs", "replay", "distil_learning_rate", "distil_batch"]),
]
PROTOCOLS = {
    "full-trace": ("Full-trace distillation", "Asks the expert now and then, and teaches the proxy their very words before RL goes on."),
    "ceiling": ("Ceiling", "RL straight on the expert's scores: the high-water mark, at the price of many samples."),
    "weak-proxy": ("Weak proxy", "RL on an untaught proxy, with looks at what the expert thinks: the comparison."),
}
