"""Hidden repeats and gold items: a share of the queue that measures who answers it, pure but for `gold_for`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from annotation.models import Batch, Gold, Item

LEAST_GAP = 8  # items from a text to its repeat, where the batch is long enough: nobody should remember what they gave
# Verdicts on one text differ by their slot, also a program's; those of a repeat must not come out the same by sharing its noise.
REPEAT_SLOT = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """One item to be: a rollout's id, a slot, what it controls ("" for an item that is asked for its own sake), and the id of who is asked."""

    rollout: int
    slot: int
    control: str = ""
    expert: int = 0


def plan(asked: Sequence[Asked], *, gold: Sequence[int], repeat_share: float, gold_share: float, rng: Random) -> list[Asked]:
    """`asked`, in order, with controls among them: round(share x len(asked)) of each kind as far as there are texts for them.

    Gold items fall anywhere before the last item: with that the batch is complete. A repeat comes LEAST_GAP items or more after its text,
    half the batch in one that is too short for that.
    """
    last, gap = len(asked) - 1, min(LEAST_GAP, len(asked) // 2)
    eligible = [i for i, a in enumerate(asked) if a.slot == 0 and i + gap < last]
    repeated = rng.sample(eligible, min(len(eligible), round(repeat_share * len(asked))))
    golden = rng.sample(list(gold), min(len(gold), round(gold_share * len(asked))))
    # Each gets a place between 0 and the last; what is asked for its own sake keeps its whole number.
    placed = [(float(i), a) for i, a in enumerate(asked)]
    placed += [(rng.uniform(-1, last), Asked(pk, 0, Item.Control.GOLD, asked[0].expert)) for pk in golden]
    placed += [(rng.uniform(i + gap, last), Asked(asked[i].rollout, REPEAT_SLOT, Item.Control.REPEAT, asked[i].expert)) for i in repeated]
    return [a for _, a in sorted(placed, key=lambda pair: pair[0])]


def gold_for(batch: Batch, wanted: Sequence[int]) -> list[int]:
    """Ids of the domain's gold rollouts that are not asked about anyway, in order."""
    if not batch.gold_share:
        return []
    return list(
        Gold.objects.filter(rollout__prompt__domain=batch.domain_id).exclude(rollout__in=wanted).order_by("pk").values_list("rollout", flat=True)
    )
