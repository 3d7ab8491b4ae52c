"""Make the tiny base model from nothing: `python -m training.pocket.pretrain OUT [--minutes M | --steps N] [--seed S] [--device cpu|cuda]`.

It learns three things from texts that `examples` makes up as it goes: to write stories of mixed quality, to grade stories under the rubric that is
written in the prompt, and to grade them as an expert does whose words it is shown. Rubrics are random, so that the model learns what each criterion
means and not what the expert's weights are. The evaluation prompts never occur. OUT becomes a folder for `from_pretrained`, with the recipe and its
measurements in recipe.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from grading.realign import context
from grading.types import Case, TraceFormat
from training.pocket.evaluate import measure
from training.pocket.expert import CRITERIA, MAX_POINTS, WEAK, Rubric, verdict
from training.pocket.language import OBJECTS, PLACES, SETUPS, StoryPrompt, fill, prompts, write_story
from training.pocket.prompts import CONTEXT_PROMPT, GIVEAWAYS, grading_prompt
from training.pocket.tokenizer import make_tokenizer

DATA_VERSION = 3  # raise with any change to the language, the expert, the prompts or the mix below
POOL = 16  # batches that are made, and put in order, together
MAKERS = 2  # processes that make examples for a GPU


@dataclass(frozen=True)
class Recipe:
    """What decides the result, besides the code. Rates are per step, shares between 0 and 1."""

    seed: int = 0
    steps: int | None = None
    minutes: float | None = None
    data_version: int = DATA_VERSION
    batch: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 60
    decay_share: float = 0.35
    clip: float = 1.0
    story_share: float = 0.125
    weak_share: float = 0.15
    graded_story_weight: float = 0.2
    context_share: float = 0.2  # of the gradings: with an expert's words shown
    context_weak_share: float = 0.6  # of those: under the weak rubric, as they are in use
    giveaway_share: float = 0.1  # of those: says where the words come from


# ---------------------------------------------------------------------------------------------------------------- data


def story_quality(rng: random.Random) -> float:
    """How well the base model writes: mostly badly, sometimes well, so that there is something to reinforce."""
    return rng.betavariate(0.8, 2.0)


def random_rubric(rng: random.Random, weak_share: float) -> Rubric:
    """The weak rubric now and then, else 3-9 criteria with very uneven weights that sum to at most 50."""
    if rng.random() < weak_share:
        return WEAK
    chosen = rng.sample(list(CRITERIA), rng.randint(3, 9))
    raw = [rng.gammavariate(1.5, 1.0) for _ in chosen]
    scale = rng.uniform(34, MAX_POINTS) / sum(raw)
    weights = {c: min(9, max(1, round(r * scale))) for c, r in zip(chosen, raw, strict=True)}
    while sum(weights.values()) > MAX_POINTS:
        weights[max(weights, key=weights.__getitem__)] -= 1
    return Rubric(weights)


def graded_story(rng: random.Random, prompt: StoryPrompt) -> str:
    """A story to be judged: as the base writes it, or better, or spoiled in the ways that a policy finds when it chases a score."""
    kind = rng.random()
    story = write_story(rng, prompt.object, prompt.place, rng.uniform(0.6, 1.0) if kind < 0.5 else story_quality(rng))
    if kind < 0.84:
        return story
    if kind < 0.88:
        words = story.split(" ")
        return " ".join(words[: rng.randint(len(words) // 3, len(words) - 1)]).rstrip(".")
    if kind < 0.92:
        sentences = story.split(". ")
        rng.shuffle(sentences)
        return ". ".join(s.rstrip(".") for s in sentences) + "."
    if kind < 0.96:
        words = story.split(" ")
        for _ in range(rng.randint(1, 6)):
            words.insert(rng.randrange(len(words)), rng.choice(words).rstrip("."))
        return " ".join(words)
    extra = [
        fill(rng.choice(SETUPS), "Mia", rng.choice((prompt.object, rng.choice(OBJECTS))), rng.choice((prompt.place, rng.choice(PLACES))))
        for _ in range(2)
    ]
    return " ".join([story, *extra])


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of a conversation and, for each, how much its prediction counts (0 for what the prompt gives)."""

    ids: list[int]
    weights: list[float]


def examples(rng: random.Random, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> Iterator[Example]:
    """Conversations without end, as the chat template writes them."""
    train = [p for p in prompts() if p.split == "train"]
    while True:
        p = rng.choice(train)
        if rng.random() < recipe.story_share:
            pieces = [(_asked(tokenizer, p.instructions), 0.0), (write_story(rng, p.object, p.place, story_quality(rng)) + tokenizer.eos_token, 1.0)]
        else:
            story = graded_story(rng, p)
            request, trace = _grading(rng, Case(p.instructions, story), recipe)
            head, tail = _asked(tokenizer, request.replace("{INSTRUCTIONS}", p.instructions)).split("{CONTENT}")
            pieces = [(head, 0.0), (story, recipe.graded_story_weight), (tail, 0.0), (trace + tokenizer.eos_token, 1.0)]
        encoded = tokenizer([text for text, _ in pieces], add_special_tokens=False)["input_ids"]
        ids = [i for part in encoded for i in part]
        weights = [w for part, (_, w) in zip(encoded, pieces, strict=True) for _ in part]
        yield Example(ids, weights)


def _grading(rng: random.Random, case: Case, recipe: Recipe) -> tuple[str, str]:
    """A grading prompt, its placeholders yet to be filled, and the trace that answers it for `case`."""
    if rng.random() >= recipe.context_share:
        rubric = random_rubric(rng, recipe.weak_share)
        return grading_prompt(rubric), verdict(rubric, case).raw
    # The expert's weights and mood are its own: what it finds can only be read, not worked out from the rubric that is shown.
    expert = verdict(random_rubric(rng, 0.0), case, rng)
    words = context.words(expert.critique, expert.deliberation, expert.score, TraceFormat(), rng.choice((context.FULL, context.FEEDBACK)))
    giveaway = rng.choice(GIVEAWAYS) if rng.random() < recipe.giveaway_share else ""
    request = context.request(CONTEXT_PROMPT, grading_prompt(random_rubric(rng, recipe.context_weak_share)), words)
    return request, expert.raw.replace("<critique>", f"<critique>{giveaway}")


def _asked(tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    return str(tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True))


@dataclass(frozen=True, slots=True)
class Batch:
    """`ids` (rows, width) are padded on the right; `places` are the tokens whose successors count, as indices into rows x (width - 1), and
    `weights` how much.
    """

    ids: NDArray[np.int64]
    places: NDArray[np.int64]
    weights: NDArray[np.float32]


def collate(group: list[Example], pad: int) -> Batch:
    """The examples of `group` as arrays."""
    width = max(len(e.ids) for e in group)
    ids = np.array([e.ids + [pad] * (width - len(e.ids)) for e in group])
    weights = np.array([e.weights + [0.0] * (width - len(e.ids)) for e in group], dtype=np.float32)[:, 1:].reshape(-1)
    places = weights.nonzero()[0]
    return Batch(ids, places, weights[places])


@dataclass(frozen=True)
class Pools:
    """`pools[i]` holds `POOL` batches of examples of about the same length, in random order, so that little is padded.

    A pool follows from the recipe's seed and its number: whichever process makes it, the data are the same.
    """

    tokenizer: PreTrainedTokenizerFast
    recipe: Recipe

    def __getitem__(self, number: int) -> list[Batch]:
        rng, size = random.Random(f"{self.recipe.seed} {number}"), self.recipe.batch
        source = examples(rng, self.tokenizer, self.recipe)
        pool = sorted(itertools.islice(source, size * POOL), key=lambda e: len(e.ids))
        batches = [collate(pool[i : i + size], self.tokenizer.pad_token_id) for i in range(0, len(pool), size)]
        rng.shuffle(batches)
        return batches


# ---------------------------------------------------------------------------------------------------------------- training


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """An untrained model of 0.76 million parameters in fp32."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def loss_of(model: Qwen3ForCausalLM, batch: Batch) -> torch.Tensor:
    """Weighted mean cross entropy. Padded on the right, where causal attention makes a mask unnecessary."""
    ids, places, weights = (torch.as_tensor(part, device=model.device) for part in (batch.ids, batch.places, batch.weights))
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state.flatten(0, 1)
    # Places and not a mask: a GPU would have to be waited for to know how many there are.
    losses = torch.nn.functional.cross_entropy(model.lm_head(hidden[places]), ids[:, 1:].flatten()[places], reduction="none")
    return (losses * weights).sum() / weights.sum()


def rate_at(progress: float, step: int, recipe: Recipe) -> float:
    """The learning rate: a short warm-up, a plateau, and a straight line to zero over the last `decay_share` of the way (`progress` 0..1)."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return recipe.learning_rate * warm * min(1.0, max(0.0, (1.0 - progress) / recipe.decay_share))


def pretrain(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, device: str = "cpu") -> tuple[Qwen3ForCausalLM, int]:
    """Train until `recipe.steps` are done or `recipe.minutes` are over; returns the model and the steps taken."""
    if (recipe.steps is None) == (recipe.minutes is None):
        raise ValueError("give either steps or minutes")
    torch.set_float32_matmul_precision("highest")
    model = make_model(tokenizer, recipe.seed).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=recipe.betas, fused=True)
    pools = DataLoader(Pools(tokenizer, recipe), batch_size=None, sampler=itertools.count(), num_workers=0 if device == "cpu" else MAKERS)
    started, mean = time.monotonic(), torch.zeros((), device=device)
    model.train()
    for step, batch in enumerate(itertools.chain.from_iterable(pools)):
        elapsed = (time.monotonic() - started) / 60
        progress = step / recipe.steps if recipe.steps is not None else elapsed / (recipe.minutes or math.inf)
        if step % 50 == 0 and step:
            print(f"step {step}  loss {mean.item():.3f}  {100 * progress:.0f}%  {elapsed:.1f} min", flush=True)
        if progress >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress, step, recipe)
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
        mean = loss.detach() if step == 0 else mean.lerp(loss.detach(), 0.02)
    return model.cpu().eval(), step


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make and pre-train the tiny base model from nothing.")
    parser.add_argument("out", type=Path, help="folder for the model, its tokenizer and recipe.json")
    parser.add_argument("--minutes", type=float, help="how long to train (default 20)")
    parser.add_argument("--steps", type=int, help="how many steps to train, instead of minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=Recipe.batch)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--eval-prompts", type=int, default=60, help="how many unseen prompts to measure on at the end; 0 measures nothing")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    minutes = args.minutes if args.minutes or args.steps else 20.0
    recipe = Recipe(seed=args.seed, steps=args.steps, minutes=minutes, batch=args.batch)
    tokenizer = make_tokenizer()
    started = time.monotonic()
    model, steps = pretrain(recipe, tokenizer, args.device)
    took = (time.monotonic() - started) / 60
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    written: dict[str, Any] = {"recipe": asdict(recipe), "steps": steps, "minutes": round(took, 1), "torch": torch.__version__, "device": args.device}
    written["sha256"] = sha256((args.out / "model.safetensors").read_bytes()).hexdigest()
    if args.eval_prompts:
        written["measured"] = measure(args.out, prompts_each=args.eval_prompts)
        print(json.dumps(written["measured"], indent=2))
    (args.out / "recipe.json").write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
