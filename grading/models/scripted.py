"""A program in the place of a language model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module

from grading.errors import ConfigurationError
from grading.models.base import SEED, TEMPERATURE, derive_seed
from grading.types import Completion, Message, Sampling, Usage

Script = Callable[[Sequence[Message], int], str]
_WORD = re.compile(r"\S+")


class ScriptedModel:
    """Answers by calling `script(messages, seed) -> text`: a function, or a dotted path to one. Words count as tokens.

    Every sample has a seed of its own; at temperature 0 the seed is always 0. Raises `ConfigurationError` where `script` names no function.
    """

    capabilities = frozenset({SEED, TEMPERATURE})

    def __init__(self, script: str | Script) -> None:
        self.script = _find(script) if isinstance(script, str) else script

    async def generate(self, requests: Sequence[Sequence[Message]], sampling: Sampling, *, seed: int) -> list[list[Completion]]:
        return [
            [self._answer(messages, sampling, derive_seed(seed, i, k) if sampling.temperature else 0) for k in range(sampling.n)]
            for i, messages in enumerate(requests)
        ]

    def _answer(self, messages: Sequence[Message], sampling: Sampling, seed: int) -> Completion:
        text = self.script(messages, seed)
        words = list(_WORD.finditer(text))
        read = sum(len(_WORD.findall(message.content)) for message in messages)
        if len(words) <= sampling.max_tokens:
            return Completion(text, usage=Usage(read, len(words)))
        cut = words[sampling.max_tokens].start()
        return Completion(text[:cut], finished=False, usage=Usage(read, sampling.max_tokens))


def _find(path: str) -> Script:
    module, _, name = path.rpartition(".")
    try:
        script: Script = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigurationError(f"script must be the dotted path of a function; {path!r} is none: {exc}") from exc
    if not callable(script):
        raise ConfigurationError(f"script must be the dotted path of a function; {path!r} is a {type(script).__name__}")
    return script
