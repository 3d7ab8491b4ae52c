"""A domain's prompts as a model would read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from annotation.models import Domain
from grading.errors import ConfigurationError
from grading.prompts import GradingPrompt, fill, placeholders
from grading.types import Case


@dataclass(slots=True)
class Preview:
    """Both prompts filled in ("" where they cannot be), what is wrong with them, and what is worth a look."""

    generation: str = ""
    grading: str = ""
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def preview(domain: Domain, variables: Mapping[str, Any] | None = None, content: str = "") -> Preview:
    """The generation prompt with `variables` and the grading prompt with `content`; marks such as ‹TOPIC› stand where there are none."""
    made = Preview()
    names = placeholders(domain.generation_prompt)
    values = {name: f"‹{name}›" for name in names} if variables is None else variables
    try:
        made.generation = fill(domain.generation_prompt, values)
    except ConfigurationError as exc:
        made.errors.append(f"Generation prompt: {exc}.")
    if domain.generation_prompt.strip() and not names:
        made.notes.append("The generation prompt has no placeholder in capitals, so all prompts of this domain read alike.")
    if not domain.grading_prompt.strip():
        return made
    try:
        case = Case(made.generation or "‹what the writer was asked›", content or "‹the text to judge›")
        made.grading = GradingPrompt(domain.grading_prompt).render(case, domain.trace_format)
    except ConfigurationError as exc:
        made.errors.append(f"Grading prompt: {exc}.")
    made.notes += _notes(domain)
    return made


def _notes(domain: Domain) -> list[str]:
    notes = []
    if "{INSTRUCTIONS}" not in domain.grading_prompt:
        notes.append("The grading prompt has no {INSTRUCTIONS}: graders will not know what the writer was asked.")
    if idle := [name for name in placeholders(domain.grading_prompt) if name not in ("INSTRUCTIONS", "CONTENT")]:
        notes.append(f"{{{idle[0]}}} means nothing in a grading prompt and stays as it is.")
    missing = [f"<{tag}>" for tag in domain.trace_format.tags if tag and f"<{tag}>" not in domain.grading_prompt]
    if missing:
        notes.append(f"The grading prompt does not ask for {', '.join(missing)}: a grader that has not been taught to will not write {_it(missing)}.")
    if domain.content_tag and domain.generation_prompt and f"<{domain.content_tag}>" not in domain.generation_prompt:
        notes.append(f"The generation prompt does not ask for <{domain.content_tag}>: an answer without it has no text to judge.")
    return notes


def _it(things: list[str]) -> str:
    return "it" if len(things) == 1 else "them"
