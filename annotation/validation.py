"""Whether what was written makes a verdict, in words that a reviewer understands."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING

from annotation.models import Domain
from annotation.text import storable
from grading.realign import context

if TYPE_CHECKING:
    from annotation.actions.verdicts import Passage


LONGEST = 100_000  # characters of a critique
TAG = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
TAGS = {"content_tag": "the text's", "critique_tag": "the critique's", "deliberation_tag": "the deliberation's", "score_tag": "the score's"}
RESERVED_SLUGS = {"new", "preview", "ready"}  # pages of their own beside the domains


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


def domain_problems(domain: Domain) -> dict[str, str]:
    """What keeps these words from being a domain, by field; {} where nothing does."""
    errors = {}
    if not domain.name.strip():
        errors["name"] = "Give it a name."
    if domain.slug in RESERVED_SLUGS:
        errors["slug"] = f"“{domain.slug}” is an address of its own here. Choose another."
    if not domain.generation_prompt.strip():
        errors["generation_prompt"] = "Write what the policy is asked, with a placeholder such as {TOPIC} where a prompt's own words belong."
    if "{CONTENT}" not in domain.grading_prompt:
        errors["grading_prompt"] = "It has no {CONTENT}: put it where the text to judge belongs, and {INSTRUCTIONS} where its task does."
    if domain.rubric_prompt.strip() and "{EXAMPLES}" not in domain.rubric_prompt:
        errors["rubric_prompt"] = "It has no {EXAMPLES}: put it where the texts with their traces belong."
    if domain.context_prompt.strip() and (lost := context.missing(domain.context_prompt)):
        errors["context_prompt"] = (
            f"It has no {' and no '.join(lost)}: {{GRADING}} stands for the filled grading prompt, {{EXPERT}} for the expert's words."
        )
    errors |= _tag_problems(domain)
    if not (isfinite(domain.score_min) and isfinite(domain.score_max)) or domain.score_min >= domain.score_max:
        errors["score_max"] = f"The highest score must lie above the lowest, which is {domain.score_min:g}."
    anchors = domain.score_anchors
    if not isinstance(anchors, list) or not all(isinstance(word, str) and word.strip() for word in anchors):
        errors["score_anchors"] = "Words along the scale are a list of texts, from low to high."
    return errors


def _tag_problems(domain: Domain) -> dict[str, str]:
    errors: dict[str, str] = {}
    seen: dict[str, str] = {}
    for field, whose in TAGS.items():
        tag = getattr(domain, field)
        if not tag and field == "content_tag":
            continue
        if not TAG.fullmatch(tag):
            errors[field] = "A tag is a word without the < and >: letters, digits, hyphens, underscores."
        elif tag.lower() in seen:
            errors[field] = f"<{tag}> is {seen[tag.lower()]} tag already: a trace could not be taken apart. Choose another."
        seen.setdefault(tag.lower(), whose)
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
