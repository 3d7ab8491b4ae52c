"""A program in the place of a language model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module

from grading.errors import ConfigurationError
from grading.models.base import PREFILL, SEED, TEMPERATURE, N, check, derive_seed
from grading.types import Completion, Message, Sampling, Usage

Script = Callable[[Sequence[Message], int], str]
_WORD = re.compile(r"\S+")


class ScriptedModel:
    """Answers by calling `script(messages, seed) -> text`: a function, or a dotted path to one. Words count as tokens.

    Every sample has a seed of its own; at temperature 0 the seed is always 0. Where the conversation ends in the assistant's turn, the script says
    what comes after it. Raises `ConfigurationError` where `script` names no function.
    """

    capabilities = frozenset({N, SEED, TEMPERATURE, PREFILL})

    def __init__(self, script: str | Script) -> None:
        self.script = _find(script) if isinstance(script, str) else script
        self.name = f"{getattr(self.script, '__module__', '')}.{getattr(self.script, '__qualname__', type(self.script).__name__)}"

    async def generate(self, requests: Sequence[Sequence[Message]], sampling: Sampling, *, seed: int) -> list[list[Completion]]:
        check(self, requests, sampling)
        return [
            [self._answer(messages, sampling, derive_seed(seed, i, k) if sampling.temperature else 0) for k in range(sampling.n)]
            for i, messages in enumerate(requests)
        ]

    def _answer(self, messages: Sequence[Message], sampling: Sampling, seed: int) -> Completion:
        text = self.script(messages, seed)
        words = list(_WORD.finditer(text))
        read = sum(len(_WORD.findall(message.content)) for message in messages)
        if len(words) <= sampling.max_tokens:
            return Completion(text, usage=Usage(read, len(words)), model=self.name, stop="end")
        cut = words[sampling.max_tokens].start()
        return Completion(text[:cut], finished=False, usage=Usage(read, sampling.max_tokens), model=self.name, stop="length")


def _find(path: str) -> Script:
    module, _, name = path.rpartition(".")
    try:
        script: Script = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigurationError(f"script must be the dotted path of a function; {path!r} is none: {exc}") from exc
    if not callable(script):
        raise ConfigurationError(f"script must be the dotted path of a function; {path!r} is a {type(script).__name__}")
    return script
