"""How far a policy has moved from where it started: KL on what it wrote itself."""

from __future__ import annotations

from functools import cached_property

from grading.models.decoding import log_probabilities
from grading.models.transformers import Loaded, TransformersModel, encode
from grading.types import Completion, Message
from training.engine.faults import JobError


class Divergence:
    """log p(policy) - log p(reference) of what the policy wrote, at temperature 1 and in nats. The reference is the model in that folder."""

    def __init__(self, policy: TransformersModel, reference: str) -> None:
        self.policy, self.folder = policy, reference

    @cached_property
    def reference(self) -> Loaded:
        loaded = TransformersModel(self.folder).loaded
        if loaded.tokenizer.get_vocab() != self.policy.loaded.tokenizer.get_vocab():
            raise JobError(
                f"the tokens of the reference {self.folder} are not those of the policy", "Take the model that the policy was trained from."
            )
        return loaded

    def moved(self, asked: list[list[Message]], answers: list[list[Completion]]) -> list[float]:
        """For each of the answers to each of what was `asked`, one after the other, the sum over its tokens, which it must have kept."""
        prompts = encode(self.policy.loaded, asked)
        pairs = [(prompt, list(answer.tokens)) for prompt, completions in zip(prompts, answers, strict=True) for answer in completions]
        read, written = [prompt for prompt, _ in pairs], [tokens for _, tokens in pairs]
        ours, theirs = (log_probabilities(loaded.model, read, written) for loaded in (self.policy.loaded, self.reference))
        return [p - q for p, q in zip(ours, theirs, strict=True)]
