"""Cheap signs that a policy may be over-optimised, from numbers that RL writes down anyway. Hints where to look, not measurements: what the expert
thinks of the policy is known only from the expert.

The thresholds come from pocket runs of 75 to 120 steps. Where RL on the expert's own scores, or on a proxy taught from full traces, was still
gaining, they moved less than this; where a number says more than that, it is at the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

WINDOW = 10  # RL steps at the beginning that are compared with as many at the end: single steps say little

# Of the spread of rewards in a step at first. It fell to 0.9 and 0.7 of that where RL was gaining, and to 0.4 where the proxy gave 92 of 100 on
# average: it was saturated, as rubrics are in the paper's figure 5a. Advantages are divided by the spread in the group, so what is left of it
# counts in full, noise for the most part.
SPREAD = 0.5
# Of the mean length at first, up or down. Gaining runs moved it by 10%. Overlong texts are a way to sudden collapse (paper, figure 5b, appendix B.3).
LENGTH = 0.25
# Share of rollouts without a score; it was below 1% in all runs. They move nothing, so what the proxy cannot read costs the policy nothing.
UNSCORED = 0.05
# Share of different texts in a step; it was 100% in all runs. Fewer: the policy has found a few texts and repeats them.
UNIQUE = 0.9
# Nats a token between policy and start. The farthest of those runs, at 92 of 100, came to 0.23: this is twice as far.
KL = 0.5


def signs(steps: Sequence[Mapping[str, Any]], kl: Sequence[tuple[int, float]] = ()) -> list[str]:
    """What is worth a look, one sentence each with its numbers; [] where nothing is.

    `steps`: what each RL step logged, in order, with its number under "step"; a number may be None or missing. `kl`: (step, nats a token from the
    first policy) for each look, in order.
    """
    found = [spread(steps), length(steps), unscored(steps), unique(steps), distance(kl)]
    return [words for words in found if words]


def spread(steps: Sequence[Mapping[str, Any]]) -> str:
    before, now = _ends(steps, "reward_std")
    if not before or now is None or now > SPREAD * before:
        return ""
    (first, last), (_, reward) = _when(steps, "reward_std"), _ends(steps, "reward")
    mean = "" if reward is None else f" around a mean of {reward:.1f}"
    return (
        f"Rewards hardly differ any more: their standard deviation in a step fell from {before:.1f} ({first}) to {now:.1f}{mean} ({last}). "
        "A proxy that likes everything alike has little left to teach."
    )


def length(steps: Sequence[Mapping[str, Any]]) -> str:
    before, now = _ends(steps, "length")
    if not before or now is None or abs(now - before) < LENGTH * before:
        return ""
    first, last = _when(steps, "length")
    changed = "longer" if now > before else "shorter"
    return f"Texts became {changed}: from {before:.0f} tokens on average ({first}) to {now:.0f} ({last}). See whether the expert would want them so."


def unscored(steps: Sequence[Mapping[str, Any]]) -> str:
    _, now = _ends(steps, "unscored_rate", both=False)
    if now is None or now < UNSCORED:
        return ""
    return f"{now:.0%} of the rollouts got no score ({_last(steps, 'unscored_rate')}). Read some of them: they teach nothing, whatever they are like."


def unique(steps: Sequence[Mapping[str, Any]]) -> str:
    _, now = _ends(steps, "unique_rate", both=False)
    if now is None or now >= UNIQUE:
        return ""
    return f"Only {now:.0%} of the texts of a step differ ({_last(steps, 'unique_rate')}): the policy repeats itself."


def distance(kl: Sequence[tuple[int, float]]) -> str:
    if not kl or kl[-1][1] < KL:
        return ""
    step, value = kl[-1]
    return f"The policy is {value:.2f} nats a token away from where it started (step {step}). The farther it is, the less the proxy knows its texts."


def _known(steps: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(row["step"], row[name]) for row in steps if row.get(name) is not None]


def _ends(steps: Sequence[Mapping[str, Any]], name: str, *, both: bool = True) -> tuple[float | None, float | None]:
    """The mean over the first and over the last `WINDOW` steps; None where there are not yet enough for windows that share no step."""
    values = [value for _, value in _known(steps, name)]
    if len(values) < (2 if both else 1) * WINDOW:
        return None, None
    return fmean(values[:WINDOW]), fmean(values[-WINDOW:])


def _when(steps: Sequence[Mapping[str, Any]], name: str) -> tuple[str, str]:
    at = [step for step, _ in _known(steps, name)]
    return f"steps {at[0]} to {at[WINDOW - 1]}", _last(steps, name)


def _last(steps: Sequence[Mapping[str, Any]], name: str) -> str:
    at = [step for step, _ in _known(steps, name)]
    return f"steps {at[-WINDOW]} to {at[-1]}"
