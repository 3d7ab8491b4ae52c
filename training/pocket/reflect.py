"""A program in the place of the reflection model: it reads the pocket expert's critiques and asks for what they miss most.

The tiny policy knows one wording of its task only, so no other wording is expected to help it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from grading.models.scripted import ScriptedModel
from grading.types import Message

# Words of a critique that find a fault (training/pocket/expert.py) -> what to ask for.
ADVICE = {
    "lost": "Keep to what is asked for, and to nothing else.",
    "becomes|nobody": "Let it be about one person with one name.",
    "slips|fails": "Tell in order what goes wrong, what is tried and what comes of it.",
    "unsolved|half solved|trouble": "Let what is tried answer what went wrong.",
    "no ending|flat": "End with what became of it all.",
    "cliche|cliches": "Use no worn phrases.",
    "repeat|drone": "Begin every sentence in another way.",
    "full|stuffed": "Use few adjectives.",
    "poor|some color": "Use many adjectives.",
    "bit long|too long": "Make it shorter.",
    "bit short|too short|brief|middling": "Make it longer.",
    "breaks off": "Come to the end.",
}
_CLAUSE = re.compile(r"([A-Za-z, ]+) \d, \d+\.")


def reflect(messages: Sequence[Message], seed: int) -> str:
    """The prompt that stands first between backticks, with one more wish where the critiques have one."""
    _, prompt, rest = messages[-1].content.split("```", 2)
    prompt = prompt.strip()
    faults = Counter(
        advice
        for clause in _CLAUSE.findall(rest)
        for words, advice in ADVICE.items()
        if re.search(rf"\b({words})\b", clause) and advice not in prompt
    )
    wishes = [advice for advice, _ in faults.most_common(1)]
    return "```\n" + " ".join([prompt, *wishes]) + "\n```"


class PocketReflection(ScriptedModel):
    """`reflect` as a language model."""

    def __init__(self) -> None:
        super().__init__(reflect)
