"""Tags around the parts of a text, as language models write them: any letter case, spaces tolerated, attributes not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


def blocks(text: str, tag: str) -> list[str]:
    """What stands between each closing `tag` and the nearest opening one before it, in order of the closing tags.

    Takes time linear in `text`, whatever is in it.
    """
    found, start = [], -1
    for match in _whole([tag]).finditer(text):
        if not match["slash"]:
            start = match.end()
        elif start >= 0:
            found.append(text[start : match.start()])
            start = -1
    return found


def unclosed(text: str, tag: str) -> str | None:
    """What follows the last opening `tag` if nothing closes it; None where there is no such tag."""
    last = None
    for match in _whole([tag]).finditer(text):
        last = match
    return text[last.end() :] if last is not None and not last["slash"] else None


def neutralise(text: str, tags: Iterable[str]) -> str:
    """`text` with its opening and closing `tags` made plain words: their "<" becomes "\u2039", which a person still reads as a tag.

    Doing it twice changes nothing more, and no text can be written so that a tag is left afterwards.
    """
    return _start(tuple(tags)).sub("\u2039", text)


@lru_cache(maxsize=256)
def _compile(template: str, names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(template.replace("NAMES", "|".join(map(re.escape, names))), re.IGNORECASE)


def _whole(tags: Iterable[str]) -> re.Pattern[str]:
    # Possessive quantifiers: a run of spaces is walked through once, so hostile text cannot make this quadratic.
    return _compile(r"<\s*+(?P<slash>/?)\s*+(?:NAMES)\s*+>", tuple(tags))


def _start(tags: Iterable[str]) -> re.Pattern[str]:
    # Wider than `_whole`, so that what is read as a tag nowhere in this program is not half a tag to a language model either.
    return _compile(r"<(?=\s*+/?\s*+(?:NAMES)(?!\w))", tuple(tags))
