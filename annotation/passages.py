"""Cutting a text into paragraphs and sentences that can be pointed at, without losing a character of it.

Offsets are Unicode code points, as Python's string indexes. Joined in order, the parts of all blocks are the text again, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import combining

LONGEST = 600  # code points of a sentence; what is longer is cut at a comma or a space, so that every part can be pointed at

_NEWLINE = re.compile(r"\r\n|\n|\r")
_STOPS = ".!?…‽؟۔।॥"
_CLOSERS = "\"'”’»›)\\]}*_"
# Possessive, and only at the start of a run: a text of nothing but full stops takes linear time.
_STOP = re.compile(rf"(?<![{_STOPS}])[{_STOPS}]++[{_CLOSERS}]*+(?=\s)|[。！？｡]++[”’」』）】]*+|\r\n|\n|\r")
_WORD_BEFORE = re.compile(r"[^\W\d_][\w.]*$")
_ABBREVIATIONS = frozenset(re.findall(r"\S+", "mr mrs ms dr prof st mt jr sr vs cf fig no gen capt lt col sgt rev hon e.g i.e approx z.b bzw ca nr"))
_BREAK = re.compile(r"[,;:–—]\s+|\s+")
_JOINERS = "\u200d\ufe0e\ufe0f"  # zero-width joiner and variation selectors: what follows or precedes belongs to one sign


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence, or the white space between two."""

    start: int
    text: str
    sentence: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, or the blank lines between two."""

    start: int
    text: str
    parts: tuple[Part, ...]  # none in blank lines

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def cut(content: str) -> list[Block]:
    """Paragraphs (parted by blank lines) with their sentences, and the gaps between them; their texts join to exactly `content`."""
    blocks = []
    at = 0
    for start, end in _paragraphs(content):
        if start > at:
            blocks.append(Block(at, content[at:start], ()))
        blocks.append(Block(start, content[start:end], tuple(_parts(content, start, end))))
        at = end
    if at < len(content):
        blocks.append(Block(at, content[at:], ()))
    return blocks


def sentences(content: str) -> list[Part]:
    """The sentences of a text, in order."""
    return [part for block in cut(content) for part in block.parts if part.sentence]


def _paragraphs(content: str) -> Iterator[tuple[int, int]]:
    """Start and end of each run of lines that are not blank; the newline after the last belongs to the gap."""
    start = end = -1
    at = 0
    while at <= len(content):
        found = _NEWLINE.search(content, at)
        stop = found.start() if found else len(content)
        line = content[at:stop]
        if line and not line.isspace():
            start, end = (at if start < 0 else start), stop
        elif start >= 0:
            yield start, end
            start = -1
        if not found:
            break
        at = found.end()
    if start >= 0:
        yield start, end


def _parts(content: str, start: int, end: int) -> Iterator[Part]:
    edges = [start, *_ends(content, start, end), end]
    for left, right in pairwise(edges):
        text = content[left:right]
        words = text.strip()
        if not words:
            if text:
                yield Part(left, text, False)
            continue
        lead = len(text) - len(text.lstrip())
        if lead:
            yield Part(left, text[:lead], False)
        at = left + lead
        for piece in _short(words):
            yield Part(at, piece, bool(piece.strip()))
            at += len(piece)
        if at < right:
            yield Part(at, content[at:right], False)


def _ends(content: str, start: int, end: int) -> Iterator[int]:
    """Where sentences end: after a stop that is no abbreviation, or at the end of a line that does not run on."""
    for found in _STOP.finditer(content, start, end):
        after = found.end()
        follows = content[after : min(after + 40, end)].lstrip()[:1]
        runs_on = follows.islower()
        if found.group() in ("\n", "\r\n", "\r"):
            if not runs_on:
                yield found.start()
        elif not runs_on and not (found.group().startswith(".") and _abbreviated(content, start, found.start())):
            yield after


def _abbreviated(content: str, start: int, stop: int) -> bool:
    word = _WORD_BEFORE.search(content, max(start, stop - 12), stop)
    if not word:
        return False
    text = word.group()
    return text.casefold() in _ABBREVIATIONS or (len(text) == 1 and text.isupper() and text != "I")


def _short(text: str) -> Iterator[str]:
    """`text` in pieces of at most `LONGEST`, each cut after a comma, at a space, or at least not within a sign of several code points."""
    at = 0
    while len(text) - at > LONGEST:
        window = text[at : at + LONGEST]
        breaks = list(_BREAK.finditer(window, LONGEST // 2))
        commas = [found.end() for found in breaks if not found.group()[0].isspace()]
        cut_at = (commas or [found.end() for found in breaks] or [_whole(text, at, at + LONGEST) - at])[-1]
        yield text[at : at + cut_at]
        at += cut_at
    if at < len(text):
        yield text[at:]


def _whole(text: str, low: int, at: int) -> int:
    """The last place up to `at` that does not part a letter from its marks; `at` itself where there is none."""
    for place in range(at, max(low, at - 64), -1):
        if not combining(text[place]) and text[place] not in _JOINERS and text[place - 1] != "\u200d":
            return place
    return at
