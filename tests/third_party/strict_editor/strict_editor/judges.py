"""The judge. All that it takes from Touchstone are the values that judges get and give, and the error for options that will not do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise

from grading.errors import ConfigurationError
from grading.types import Case, Verdict

STOCK_PHRASES = ("all of a sudden", "could not believe", "in the blink of an eye", "little did", "only time would tell", "time stood still")
QUOTED = 8  # faults that a critique names; the others are counted

_WORD = re.compile(r"[^\W\d_]+")
_SENTENCE = re.compile(r"[^.!?]+")
_CLOSING = " \t\r\n\"'”’)"


class StrictEditor:
    """Begins at 100 and takes `points` off for every fault, down to 0.

    Faults are a sentence of more than `longest` words, a word said twice in a row, an exclamation mark, a phrase of `banned`, and a text that breaks
    off. Raises `ConfigurationError` for options that will not do.
    """

    def __init__(self, points: float = 5, longest: int = 30, banned: Sequence[str] = STOCK_PHRASES) -> None:
        if not 0 < points <= 100:
            raise ConfigurationError(f"points, what a fault costs, must be above 0 and at most 100, not {points}")
        if longest < 1:
            raise ConfigurationError(f"longest, the words of a sentence, must be 1 or more, not {longest}")
        if isinstance(banned, str) or not all(isinstance(phrase, str) and phrase.strip() for phrase in banned):
            raise ConfigurationError("banned must be a list of phrases")
        self.points, self.longest = points, longest
        self.banned = re.compile("|".join(rf"\b{re.escape(phrase.strip())}\b" for phrase in banned) or r"(?!)", re.IGNORECASE)

    async def grade(self, cases: Sequence[Case], *, seed: int = 0) -> list[Verdict]:
        """One verdict per case, in order. Nothing is left to chance, so the seed means nothing."""
        return [self.verdict(case.content) for case in cases]

    def verdict(self, text: str) -> Verdict:
        """What is wrong with the text, and what that costs. A text without words is unscored: there is nothing to edit."""
        if not _WORD.search(text):
            return Verdict.unscored("there are no words to edit")
        faults = self._faults(text)
        named = list(islice(faults, QUOTED))
        more = sum(1 for _ in faults)
        score = max(0.0, 100 - self.points * (len(named) + more))
        critique = " ".join([*named, *([f"And {more} faults more."] if more else [])]) or "Nothing to mend."
        return Verdict(score, critique=critique, deliberation=f"100 less {self.points:g} for each of {len(named) + more} faults: {score:g}.")

    def _faults(self, text: str) -> Iterator[str]:
        for sentence in _SENTENCE.findall(text):
            words = _WORD.findall(sentence)
            if len(words) > self.longest:
                yield f"“{' '.join(words[:3])} ...” runs on for {len(words)} words."
            yield from (f"“{first} {second}” says it twice." for first, second in pairwise(words) if first.lower() == second.lower())
        yield from (f"“{match[0]}” is worn out." for match in self.banned.finditer(text))
        yield from ("An exclamation mark shouts." for _ in range(text.count("!")))
        if not text.rstrip(_CLOSING).endswith((".", "!", "?", "…")):
            yield "It breaks off."
