"""Tags around the parts of a text, as language models write them: any letter case, spaces tolerated, attributes not."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from unicodedata import category, name, normalize

# What begins and ends turns, or whole texts, for the chat templates of many models: <|...|>, <s>, <start_of_turn>, [INST] and the like.
TURNS = ("s", "bos", "eos", "pad", "unk", "sys", "start_of_turn", "end_of_turn", "think", "tool_call", "tool_response")
NEUTRAL = {"<": "\u2039", "[": "\u2045"}

UNSEEN = {"Cc", "Cf", "Me", "Mn"}  # control and format characters, and marks above, below and through others
BLANK = "\u115f\u1160\u2800\u3164\ufffd"  # letters and symbols that show nothing; the last stands for what could not be shown
# Letters of other scripts, and signs, that look like those of ASCII; what Unicode itself takes for a variant of a letter is not repeated here.
ALIKE = str.maketrans(
    "авгекмнопрстухіјѕһӏԁԍԛԝѵαβγεζηικνορτυχωσμօսոհցɑ˂ᐸᚲ❮𝈶˃ᐳ❯𝈷∕⁄⧸╱⟋ǀ∣│",
    "abrekmhonpctyxijshldgqwvabyeznikvoptuxwcmounhga<<<<<>>>>/////|||",
)
_LETTER = re.compile(r"(?:.* )?(?:LATIN|REGIONAL INDICATOR SYMBOL)\b.* LETTER (?:[A-Z]+ )*([A-Z])(?: WITH .*)?")


def blocks(text: str, tag: str) -> list[str]:
    """What stands between each closing `tag` and the nearest opening one before it, in order of the closing tags.

    Takes time linear in `text`, whatever is in it.
    """
    found, start = [], -1
    for match in _whole(tag).finditer(text):
        if not match["slash"]:
            start = match.end()
        elif start >= 0:
            found.append(text[start : match.start()])
            start = -1
    return found


def unclosed(text: str, tag: str) -> str | None:
    """What follows the last opening `tag` if nothing closes it; None where there is no such tag."""
    last = None
    for match in _whole(tag).finditer(text):
        last = match
    return text[last.end() :] if last is not None and not last["slash"] else None


def neutralise(text: str, tags: Iterable[str]) -> str:
    """`text` with its opening and closing `tags`, and marks of turns (`TURNS`), made plain words: a person still reads them as what they were.

    Their "<" becomes "\u2039", and the "[" of [INST] "\u2045"; nothing else changes. That goes for tags in disguise too: with spaces or
    invisible characters in them, in letters and brackets that look alike, whatever their case. Doing it twice changes nothing more, and no text
    can be written so that a tag is left afterwards. Takes time linear in `text`.
    """
    shown = {char: _shown(char) for char in set(text)}
    folded = "".join([shown[char] for char in text])
    starts = [match.start() for match in _start(tuple(tags)).finditer(folded)]
    if not starts:
        return text
    ends = list(accumulate([len(shown[char]) for char in text]))  # where the folded form of each character ends
    chars = list(text)
    for start in starts:
        chars[bisect_right(ends, start)] = NEUTRAL[folded[start]]
    return "".join(chars)


@lru_cache(maxsize=4096)
def _shown(char: str) -> str:
    """What a character looks like, in plain letters and without its case; "" for what is not seen."""
    if char.isspace():
        return " "
    plain = normalize("NFKD", normalize("NFKD", char).casefold())
    return "".join(_alike(part) for part in plain if category(part) not in UNSEEN and part not in BLANK)


def _alike(char: str) -> str:
    if char.isascii():
        return char
    match = _LETTER.fullmatch(name(char, ""))
    return match[1].lower() if match else char.translate(ALIKE)


@lru_cache(maxsize=256)
def _whole(tag: str) -> re.Pattern[str]:
    # Possessive quantifiers: a run of spaces is walked through once, so hostile text cannot make this quadratic.
    return re.compile(rf"<\s*+(?P<slash>/?)\s*+{re.escape(tag)}\s*+>", re.IGNORECASE)


@lru_cache(maxsize=256)
def _start(tags: tuple[str, ...]) -> re.Pattern[str]:
    # Wider than `_whole`, so that what is read as a tag nowhere in this program is not half a tag to a language model either.
    names = "|".join(r"\s*+".join(re.escape(letter) for part in tag for letter in _shown(part)) for tag in (*tags, *TURNS))
    return re.compile(rf"<(?=\||\s*+/?\s*+(?:{names})(?!\w))|\[(?=\s*+/?\s*+inst\s*+\])", re.IGNORECASE)
