"""A language model in this process, read from a folder by `from_pretrained`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from grading.errors import ConfigurationError
from grading.models.base import PREFILL, SEED, TEMPERATURE, N, check, encodable
from grading.types import Completion, Message, Sampling, Usage

ENCODED_AT_ONCE = 256  # texts; while it works, the tokenizer holds much more of a token than its number


@dataclass(frozen=True, slots=True)
class Loaded:
    model: Any  # transformers.PreTrainedModel, in evaluation mode
    tokenizer: Any  # transformers.PreTrainedTokenizerFast
    stops: list[int]  # the tokens that end a sequence
    positions: int  # the longest sequence that the model knows, in tokens
    specials: re.Pattern[str]


class TransformersModel:
    """The causal language model in the folder `path`, which also holds its tokenizer with a chat template.

    `batch_size` is in sequences. `device` is a torch device (default: CUDA if there is one) and `dtype` a torch type by name (default: the
    checkpoint's). With `keep_tokens` completions have the ids of their tokens. The weights are read at the first request. Raises
    `ConfigurationError` that says what to change: a folder that is no checkpoint at once, the rest at the first request.

    A request's completions depend on the request, its position and the seed alone, not on `batch_size` or on the company it is in (up to
    rounding, which differs between batches), and torch's global random state is neither used nor changed.
    """

    capabilities = frozenset({N, SEED, TEMPERATURE, PREFILL})

    def __init__(
        self, path: str | Path, batch_size: int = 256, device: str | None = None, dtype: str | None = None, keep_tokens: bool = False
    ) -> None:
        check_model(path, batch_size)
        self.path, self.batch_size, self.device, self.dtype, self.keep_tokens = str(path), batch_size, device, dtype, keep_tokens

    @cached_property
    def loaded(self) -> Loaded:
        return load(self.path, self.device, self.dtype)

    async def generate(self, requests: Sequence[Sequence[Message]], sampling: Sampling, *, seed: int) -> list[list[Completion]]:
        """See `LanguageModel.generate`. A request too long for the model is answered by an empty, unfinished completion.

        The work is done in line and the event loop waits: whoever holds a model in process has nothing else to do meanwhile, and a thread would
        only compete with torch's own for the same cores.
        """
        check(self, requests, sampling)
        prompts = encode(self.loaded, requests)
        rows = [(i, k) for i in range(len(prompts)) for k in range(sampling.n)]
        answers: dict[tuple[int, int], Completion] = {}
        # By length, so that little is spent on padding; longest first, so that a batch that does not fit fails at once.
        rows.sort(key=lambda row: -len(prompts[row[0]]))
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            answers.update(zip(batch, self._answer(self.loaded, prompts, batch, sampling, seed), strict=True))
        return [[answers[i, k] for k in range(sampling.n)] for i in range(len(prompts))]

    def _answer(self, loaded: Loaded, prompts: list[list[int]], batch: list[tuple[int, int]], sampling: Sampling, seed: int) -> Iterator[Completion]:
        from grading.models.decoding import decode

        limits = [max(0, min(sampling.max_tokens, loaded.positions - len(prompts[i]))) for i, _ in batch]
        draws = np.stack([np.random.default_rng([seed % 2**64, i, k]).random(sampling.max_tokens) for i, k in batch])
        written = decode(loaded.model, [prompts[i] for i, _ in batch], limits, loaded.stops, sampling.temperature, draws)
        ended = [bool(tokens) and tokens[-1] in loaded.stops for tokens in written]
        texts = loaded.tokenizer.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for (i, _), tokens, text, finished in zip(batch, written, texts, ended, strict=True):
            usage = Usage(len(prompts[i]), len(tokens))
            kept = tuple(tokens) if self.keep_tokens else ()
            yield Completion(text, finished=finished, usage=usage, stop="end" if finished else "length", tokens=kept)


def check_model(path: str | Path, batch_size: int) -> None:
    """Raises `ConfigurationError` where there is no model in `path`, or no batch."""
    if not (Path(path) / "config.json").is_file():
        raise ConfigurationError(f"no model in {path}: give a folder written by save_pretrained (config.json, weights, tokenizer)")
    if batch_size < 1:
        raise ConfigurationError(f"batch_size must be 1 or more, not {batch_size}")


def load(path: str, device: str | None, dtype: str | None, read: Callable[..., Any] | None = None) -> Loaded:
    """Read model and tokenizer from `path`; `read` takes the place of `from_pretrained` of causal language models. Raises `ConfigurationError`."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as exc:
        raise ConfigurationError(f"a model in this process needs torch and transformers: pip install -r requirements/training.txt ({exc})") from exc
    if dtype is not None and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ConfigurationError(f"dtype must name a torch type such as float32 or bfloat16, not {dtype!r}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        model: Any = (read or AutoModelForCausalLM.from_pretrained)(path, dtype=dtype or "auto", local_files_only=True)
        model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    except Exception as exc:  # the libraries raise all kinds for a damaged folder or a device that is not there
        raise ConfigurationError(f"cannot load the model in {path}: {exc}") from exc
    if not tokenizer.chat_template:
        raise ConfigurationError(f"the tokenizer in {path} has no chat template: add chat_template.jinja")
    writes = getattr(model, "generation_config", None)  # a model with a scalar head has none
    stops = _stops(getattr(writes, "eos_token_id", None)) | _stops(tokenizer.eos_token_id)
    if not stops:
        raise ConfigurationError(f"the tokenizer in {path} has no eos_token: set one, or no completion ever ends")
    positions = getattr(model.config, "max_position_embeddings", None) or 2**31
    specials = [re.escape(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return Loaded(model, tokenizer, sorted(stops), positions, re.compile("|".join(specials) or r"(?!)"))


def encode(loaded: Loaded, requests: Sequence[Sequence[Message]]) -> list[list[int]]:
    """The tokens of each conversation, ready for the assistant's turn, or for what comes after the words that it has begun with.

    Special tokens spelt out in a message get a space after their first character: nobody may end a turn or begin another from inside one.
    Raises `ConfigurationError` where the chat template does not keep an assistant's last turn as it is.
    """

    def plain(text: str) -> str:
        return loaded.specials.sub(lambda match: f"{match[0][0]} {match[0][1:]}", encodable(text))

    def render(messages: Sequence[Message]) -> str:
        begun = messages[-1].role == "assistant" and bool(messages[-1].content.strip())  # a turn begun without words is yet to begin
        turns = [{"role": message.role, "content": plain(message.content)} for message in messages]
        if begun:
            ending = {"continue_final_message": True}
        else:
            ending = {"add_generation_prompt": True}
            turns = turns if messages[-1].role == "user" else turns[:-1]
        try:
            return str(loaded.tokenizer.apply_chat_template(turns, tokenize=False, **ending))
        except ValueError as exc:
            raise ConfigurationError(f"the chat template does not take this conversation: {exc}") from exc

    tokens: list[list[int]] = []
    for start in range(0, len(requests), ENCODED_AT_ONCE):
        texts = [render(messages) for messages in requests[start : start + ENCODED_AT_ONCE]]
        tokens += loaded.tokenizer(texts, add_special_tokens=False)["input_ids"]
    return tokens


def _stops(ids: int | list[int] | None) -> set[int]:
    return set() if ids is None else {ids} if isinstance(ids, int) else set(ids)
