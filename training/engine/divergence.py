"""How far a policy has moved from where it started: KL on what it wrote itself."""

from __future__ import annotations

from functools import cached_property
from math import fsum

from grading.models.decoding import log_probabilities
from grading.models.transformers import Loaded, TransformersModel, encode
from grading.types import Completion, Message
from training.engine.faults import JobError
from training.engine.job import Job


class Divergence:
    """Sums of log p(policy) - log p(reference) over the written tokens, at temperature 1 and in nats; a line of kl.jsonl for each chunk of work."""

    def __init__(self, job: Job, policy: TransformersModel) -> None:
        self.job, self.policy, self.lines = job, policy, job.lines("kl.jsonl")
        self.known = {(line["request"], line["chunk"]) for line in self.lines}

    @cached_property
    def reference(self) -> Loaded:
        loaded = TransformersModel(self.job["reference"]).loaded
        if loaded.tokenizer.get_vocab() != self.policy.loaded.tokenizer.get_vocab():
            raise JobError(
                f"the tokens of the reference {self.job['reference']} are not those of the policy", "Take the model that the policy was trained from."
            )
        return loaded

    def measure(self, request: str, chunk: int, asked: list[list[Message]], answers: list[list[Completion]]) -> None:
        """Add the answers to each of what was `asked`, which must have kept their tokens."""
        prompts = encode(self.policy.loaded, asked)
        pairs = [(prompt, list(answer.tokens)) for prompt, completions in zip(prompts, answers, strict=True) for answer in completions]
        read, written = [prompt for prompt, _ in pairs], [tokens for _, tokens in pairs]
        ours, theirs = (log_probabilities(loaded.model, read, written) for loaded in (self.policy.loaded, self.reference))
        moved = fsum(p - q for p, q in zip(ours, theirs, strict=True))
        self.lines.append({"request": request, "chunk": chunk, "rollouts": len(pairs), "tokens": sum(map(len, written)), "sum": moved})
        self.known.add((request, chunk))

    def result(self) -> dict[str, float | None]:
        """`kl`: the mean over written tokens; `kl_rollout`: the mean over rollouts of their sums. Estimates: chance may put one below 0."""
        lines = list(self.lines)
        total, tokens, rollouts = fsum(line["sum"] for line in lines), sum(line["tokens"] for line in lines), sum(line["rollouts"] for line in lines)
        return {"kl": total / tokens if tokens else None, "kl_rollout": total / rollouts if rollouts else None}
