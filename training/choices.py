"""Which prompts an experiment uses, and its seeds: chosen once, from its seed alone, so that whoever looks again finds the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random

from annotation.models import Domain, Prompt


def derive_seed(seed: int, *parts: object) -> int:
    """A seed in 0..2**31-1 for one purpose; different parts give unrelated seeds."""
    text = "/".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


def eval_prompts(domain: Domain, count: int) -> list[int]:
    """Ids of the first `count` eval prompts in an order that depends on the domain only: experiments of a domain share them."""
    rows = Prompt.objects.filter(domain=domain, split=Prompt.Split.EVAL).order_by("digest")
    return list(rows.values_list("id", flat=True)[:count])


def validation_prompts(domain: Domain, count: int) -> list[int]:
    """Ids of the `count` train prompts that are kept out of RL, to try grading prompts on; they depend on the domain only."""
    rows = Prompt.objects.filter(domain=domain, split=Prompt.Split.TRAIN).order_by("digest")
    return list(rows.values_list("id", flat=True)[:count])


def train_prompts(domain: Domain, seed: int, kept_out: Sequence[int] = ()) -> list[int]:
    """Ids of all train prompts but those `kept_out`, in the order in which RL meets them."""
    found = Prompt.objects.filter(domain=domain, split=Prompt.Split.TRAIN).exclude(pk__in=kept_out)
    rows = list(found.order_by("digest").values_list("id", flat=True))
    Random(derive_seed(seed, "train prompts")).shuffle(rows)
    return rows


def pool_prompts(train: Sequence[int], seed: int, used: int, count: int) -> list[int]:
    """`count` train prompts for a pool, after `used` in earlier pools: none comes twice while they last, and none twice in one pool.

    `train` must hold at least `count` prompts.
    """
    chosen: list[int] = []
    while len(chosen) < count:
        lap, place = divmod(used + len(chosen), len(train))
        order = list(train)
        Random(derive_seed(seed, "pool", lap)).shuffle(order)
        # At the turn of a lap the new order may open with prompts this pool has already.
        fresh = [p for p in order[place:] if p not in chosen]
        chosen += fresh[: count - len(chosen)]
    return chosen
