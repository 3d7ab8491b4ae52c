"""What a language model is to a grader and to whoever samples a policy."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

from grading.types import Completion, Message, Sampling

SEED = "seed"  # the same requests, sampling and seed give the same completions
TEMPERATURE = "temperature"  # `Sampling.temperature` is obeyed, and 0 is greedy


class LanguageModel(Protocol):
    """Anything that goes on with a conversation. `capabilities` holds the names above that it promises."""

    capabilities: frozenset[str]

    async def generate(self, requests: Sequence[Sequence[Message]], sampling: Sampling, *, seed: int) -> list[list[Completion]]:
        """`sampling.n` completions for each request, in the order of the requests.

        A completion that reaches `sampling.max_tokens` is not finished. Raises `ConfigurationError` where the model cannot be had as it is
        set up, and `GraderError` for what goes wrong outside, saying whether to try again.
        """
        ...


def derive_seed(*parts: int) -> int:
    """A seed of 63 bits that depends on all `parts` and their order."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1
