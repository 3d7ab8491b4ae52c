"""Strategies and a domain's format for the tests of grading traces."""

from __future__ import annotations

from hypothesis import strategies as st

from grading.types import TraceFormat

FMT = TraceFormat()

# Texts that a person or a model may write, thick with what could be taken for markup.
PIECES = [
    "<",
    ">",
    "/",
    "</",
    "<score>",
    "</score>",
    "<SCORE>",
    "< / Score >",
    "<critique>",
    "</critique>",
    "</deliberation>",
    "90",
    " ",
    "\n",
    "\u2039",
]
tagged = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=30).map("".join)
any_text = st.one_of(st.text(), tagged, st.text(st.characters(exclude_categories=())))
