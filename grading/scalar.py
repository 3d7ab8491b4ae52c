"""A proxy that says a score and nothing else: a language model with one number for a head (paper, section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any

from grading.errors import ConfigurationError
from grading.models.transformers import Loaded, check_model, encode, load
from grading.prompts import GradingPrompt
from grading.types import Case, Message, TraceFormat, Usage, Verdict

if TYPE_CHECKING:
    from torch import Tensor


class ScalarJudge:
    """A judge that reads the grading prompt on each case and gives the number at its end as the score, without words.

    `model` holds `path`, a folder that the scalar job left, and may hold `batch_size`, `device` and `dtype`, as of `TransformersModel`; `format`
    the fields of `TraceFormat` that differ from its defaults. The head's 0 and 1 stand for the format's lowest and highest score; what lies
    outside is clipped.

    There is no chance in a score, so the seed means nothing; rounding differs between batches. Raises `ConfigurationError` naming an option that
    will not do, and at the first case what is wrong with the folder.
    """

    def __init__(self, prompt: str, model: Mapping[str, Any], format: Mapping[str, Any] | None = None) -> None:
        self.prompt, self.model, self.format = GradingPrompt(prompt), ScalarModel(**model), TraceFormat(**(format or {}))
        if not self.format.score_min < self.format.score_max:
            raise ConfigurationError(f"the format's score_min {self.format.score_min} must be below its score_max {self.format.score_max}")

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        """One verdict per case, in order. A text too long for the model is unscored."""
        readings = self.model.read([self.prompt.render(case, self.format) for case in cases])
        return [self._verdict(tokens, value) for tokens, value in readings]

    def _verdict(self, tokens: int, value: float | None) -> Verdict:
        if value is None:
            return Verdict.unscored(f"the text is too long: {tokens} tokens with its prompt, and the model knows no more than {self.model.positions}")
        usage, low, high = Usage(input_tokens=tokens), self.format.score_min, self.format.score_max
        if not isfinite(value):
            return Verdict.unscored("the model's score is no number").with_usage(usage)
        return Verdict(min(high, max(low, low + value * (high - low))), usage=usage)


class ScalarModel:
    """The language model with a scalar head in the folder `path`. `batch_size` is in sequences; see `TransformersModel` for the others."""

    def __init__(self, path: str, batch_size: int = 64, device: str | None = None, dtype: str | None = None) -> None:
        check_model(path, batch_size)
        self.path, self.batch_size, self.device, self.dtype = path, batch_size, device, dtype

    @cached_property
    def loaded(self) -> Loaded:
        return load_scalar(self.path, self.device, self.dtype)

    @property
    def positions(self) -> int:
        return self.loaded.positions

    def read(self, prompts: Sequence[str]) -> list[tuple[int, float | None]]:
        """The tokens of each prompt and the number that the head gives at its end; None where the model cannot hold it."""
        import torch

        tokens = encode(self.loaded, [[Message("user", prompt)] for prompt in prompts])
        # By length, so that little is spent on padding; longest first, so that a batch that does not fit fails at once.
        rows = sorted((row for row, ids in enumerate(tokens) if len(ids) <= self.positions), key=lambda row: -len(tokens[row]))
        values: dict[int, float] = {}
        with torch.inference_mode():
            for start in range(0, len(rows), self.batch_size):
                batch = rows[start : start + self.batch_size]
                inputs = padded([tokens[row] for row in batch], self.loaded)
                logits = self.loaded.model(**{name: value.to(self.loaded.model.device) for name, value in inputs.items()}).logits
                values.update(zip(batch, logits[:, 0].float().tolist(), strict=True))
        return [(len(ids), values.get(row)) for row, ids in enumerate(tokens)]


def padded(tokens: Sequence[list[int]], loaded: Loaded) -> dict[str, Tensor]:
    """What the model is called with, each of shape (sequences, longest).

    Padded on the right, where no token of a causal model sees the padding; the head is read at the last token that is no padding.
    """
    import torch

    sequences = [torch.tensor(ids) for ids in tokens]
    pad = loaded.model.config.get_text_config().pad_token_id
    mask = [torch.ones_like(ids) for ids in sequences]
    return {
        "input_ids": torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=pad),
        "attention_mask": torch.nn.utils.rnn.pad_sequence(mask, batch_first=True),
    }


def load_scalar(path: str, device: str | None = None, dtype: str | None = None, *, untrained: bool = False) -> Loaded:
    """Read a language model with a scalar head from `path`. Raises `ConfigurationError`, also where there is no head yet, unless `untrained`.

    A head that is not there yet is all zeros: random ones would begin several times the range of the scores away.
    """

    def read(path: str, **options: Any) -> Any:
        from transformers import AutoModelForSequenceClassification

        model, report = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, output_loading_info=True, **options)
        missing = set(report["missing_keys"])
        if missing == {"score.weight"} and untrained:
            model.score.weight.data.zero_()
        elif missing:
            raise ConfigurationError(f"{', '.join(sorted(missing))} is not there; a model with a scalar head is what a scalar job leaves")
        return model

    loaded = load(path, device, dtype, read)
    config = loaded.model.config.get_text_config()
    if config.pad_token_id is None:
        config.pad_token_id = loaded.tokenizer.pad_token_id if loaded.tokenizer.pad_token_id is not None else loaded.stops[0]
    return loaded
