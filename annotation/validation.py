"""Whether what was written makes a verdict, in words that a reviewer understands."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from annotation.models import Domain
from annotation.text import storable

if TYPE_CHECKING:
    from annotation.actions.verdicts import Passage


LONGEST = 100_000  # characters of a critique


def read_score(domain: Domain, score: float | str | None, *, required: bool) -> tuple[float | None, str]:
    """The score as a number, and what is wrong with it ("" where nothing is). `score` may be as typed."""
    scale = f"from {domain.score_min:g} to {domain.score_max:g}"
    if score is None or (isinstance(score, str) and not score.strip()):
        return None, f"Give a score {scale}." if required else ""
    try:
        number = float(score)
    except ValueError:
        return None, f"The score must be a number {scale}."
    if not isfinite(number) or not domain.score_min <= number <= domain.score_max:
        return None, f"The score must lie {scale}."
    return number, ""


def problems(domain: Domain, *, critique: str, score: float | str | None, unscored_reason: str = "") -> dict[str, str]:
    """What keeps this from being a verdict, by field; {} where nothing does. With an `unscored_reason` neither words nor a score are needed."""
    errors = {}
    if not critique.strip() and not unscored_reason:
        errors["critique"] = "Write what works and what does not: the words are what is learnt from."
    if len(critique) > LONGEST:
        errors["critique"] = f"The critique has {len(critique):,} characters, and {LONGEST:,} is the most. Shorten it; nothing is cut for you."
    _, problem = read_score(domain, score, required=domain.score_required and not unscored_reason)
    if problem:
        errors["score"] = problem
    return errors


def passage_problem(content: str, passage: Passage) -> str:
    """What is wrong with a highlight of `content`, or ""."""
    if not 0 <= passage.start < passage.end <= len(content):
        return f"A highlight lies outside the text (characters {passage.start} to {passage.end} of {len(content)})."
    if storable(content[passage.start : passage.end]) != storable(passage.quote):
        return "A highlight does not match the text it quotes. Remove it and mark the passage again."
    if passage.sign not in {"+", "-"}:
        return "Say of each highlight whether it is a strength or a weakness."
    return ""
