"""The tokenizer of the tiny models: byte-level BPE learned on the pocket language. It takes any text and gives it back exactly."""

from __future__ import annotations

import random
import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from grading.prompts import GradingPrompt
from grading.types import Case, TraceFormat
from training.pocket.expert import CRITERIA, MAX_POINTS, UNFINISHED, WEAK, PocketExpert
from training.pocket.language import ADJECTIVES, NAMES, OBJECTS, PLACES, fill, prompts, templates, write_story
from training.pocket.prompts import grading_prompt

VOCABULARY = 1536
IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

# Digits stay single, and every line break too, so that a prompt's tokens begin the tokens of the whole conversation.
_PIECES = r" ?\d| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\s"

# No line break after the last message: an answer ends with <|im_end|>, which is also the end of the sequence.
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' }}"
    "{% if not loop.last or add_generation_prompt %}{{ '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def corpus() -> list[str]:
    """Every word of the language, of the expert and of the prompts, once with and once without a space before it."""
    rng = random.Random(0)
    texts = [fill(t, name, "key", "tower") for t, _ in templates() for name in ("Mia", "Tom")]
    texts += [" ".join((*NAMES, *OBJECTS, *PLACES, *sorted(ADJECTIVES), *CRITERIA)), f"{UNFINISHED} of {MAX_POINTS}. user assistant system"]
    weak = GradingPrompt(grading_prompt(WEAK))
    expert = PocketExpert(dict.fromkeys(CRITERIA, 1), noise=False)
    for p in prompts()[:400]:
        case = Case(p.instructions, write_story(rng, p.object, p.place, rng.random()))
        texts += [expert.verdict(case).critique, weak.render(case, TraceFormat())]
    words = sorted({w for text in texts for w in re.findall(r"[A-Za-z]+", text)})
    capital_first = [w for w in words if w[0].isupper()]
    return (
        [f" {w}" for w in words] + capital_first + ["user", "assistant", "system", *(w for w in words if w in OBJECTS)] + [f" {d}" for d in range(10)]
    )


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Learn the tokenizer; takes less than a second and is always the same. `save_pretrained` makes it loadable by AutoTokenizer."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_PIECES), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in (END_OF_TEXT, IM_START, IM_END)],
    )
    bpe.train_from_iterator(corpus(), trainer)
    tags = TraceFormat().tags
    bpe.add_tokens([AddedToken(f"<{slash}{tag}>", normalized=False) for tag in tags for slash in ("", "/")])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[IM_START],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
