"""Context distillation (paper, 4.2): the proxy grades while it is shown the expert's words, and learns from the traces that do not give them away."""

from __future__ import annotations

import re

from grading.errors import ConfigurationError
from grading.parsing import readable, write_trace
from grading.types import Case, TraceFormat

FULL, FEEDBACK = "full", "feedback"
PLACEHOLDERS = ("{GRADING}", "{EXPERT}")
_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))

# For language models that follow instructions; a domain may have its own.
CONTEXT_PROMPT = """\
{GRADING}

----

You also have notes on this text, made by somebody whose judgement you can rely on:

{EXPERT}

Answer in the form that was asked for above. Arrive at the judgement that the notes lead to, and write it as a reader who has nothing but the text:
find the reasons in the text yourself, put them in your own words, and say nothing of the notes, of who made them, or of having been shown anything.
"""


def words(critique: str, deliberation: str, score: float | None, fmt: TraceFormat, show: str) -> str:
    """What the proxy is shown of an expert's verdict: all of it as a trace ("full"), or the critique alone ("feedback")."""
    if show not in (FULL, FEEDBACK):
        raise ConfigurationError(f"show must be {FULL} or {FEEDBACK}, not {show!r}")
    return write_trace(critique, deliberation, score, fmt) if show == FULL else readable(critique, fmt)


def request(template: str, grading: str, expert: str) -> str:
    """The context prompt `template` (the general one where it is empty) around a filled grading prompt and the expert's words.

    Other braces, and all in what is filled in, stay as they are. Raises `ConfigurationError` where a placeholder is missing.
    """
    template = template if template.strip() else CONTEXT_PROMPT
    if lost := missing(template):
        raise ConfigurationError(f"the context prompt has no {' and no '.join(lost)}: put it where the words belong")
    values = dict(zip(PLACEHOLDERS, (grading, expert), strict=True))
    return _PLACEHOLDER.sub(lambda match: values[match[0]], template)


def missing(template: str) -> list[str]:
    """The placeholders that `template` lacks."""
    return [name for name in PLACEHOLDERS if name not in template]


# ---------------------------------------------------------------------------------------------------------------- leaks

_SOURCE = "feedback|notes|comments|remarks|reviewer|grader"
_JUDGED = "critique|assessment|verdict|judge?ment|scores?"
_SAYS = "says?|said|states?|stated|mentions?|mentioned|suggests?|suggested|indicates?|indicated|points? out|pointed out|highlights?|highlighted"
_FROM = "according to|based on|as per|in line with|consistent with|in agreement with|following|given"

# What gives the source away. A critique may well speak of itself, of scores, of musical notes, of references to other works, of the analysis that a
# plan provides or of a review of the literature: only "expert" and "ground truth" count alone, the rest in company that says where it comes from.
LEAKS = (
    rf"as the experts? (?:{_SAYS}|notes?|noted)",
    rf"(?:{_FROM}) the experts?",
    "experts?",
    "ground[ -]truth",
    rf"(?:reference|expert|reviewer's|grader's) (?:{_SOURCE}|{_JUDGED})",
    rf"(?:the|these|those|this|my|your) (?:given|provided|supplied|attached|shared|shown) (?:{_SOURCE}|{_JUDGED})",
    rf"(?:the|this) (?:previous|prior|earlier|existing) (?:{_JUDGED})",
    rf"(?:the|these|those) (?:{_SOURCE}) (?:{_SAYS}|above|provided|given|i was|i am|i have)",
    rf"(?:{_FROM}) (?:the|these|those) (?:{_SOURCE})",
    rf"(?:as|was|were|is|are) (?:{_SAYS}|noted|observed) (?:by|in) (?:the|these|those) (?:{_SOURCE})",
    rf"i (?:was|am|have been|'ve been) (?:given|shown|provided)(?: with)? (?:(?:the|a|an|this|these|some) )?(?:{_SOURCE}|{_JUDGED})",
    rf"(?:{_SOURCE}|{_JUDGED}) (?:that )?(?:i was|i am|i have been) (?:given|shown|provided)",
    "i (?:was|am|have been|'ve been) told",
)
_LEAK = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in LEAKS))


def leak(trace: str, case: Case) -> str:
    """The first words of `trace` that give away that its writer was shown something (`LEAKS`), or "" where there are none.

    Words that stand in the task or in the graded text do not count: a story about an expert mountaineer may be called that.
    """
    told = _plain(f"{case.instructions} {case.content}")
    for match in _LEAK.finditer(_plain(trace)):
        if not re.search(rf"\b{re.escape(match[0])}\b", told):
            return match[0]
    return ""


def _plain(text: str) -> str:
    """In small letters, with straight apostrophes and single spaces."""
    return " ".join(text.lower().replace("\u2019", "'").split())
