"""Texts are cut into paragraphs and sentences that are the text again when joined."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from django.template.loader import render_to_string
from hypothesis import example, given
from hypothesis import strategies as st

from annotation.passages import LONGEST, cut, sentences

ANYTHING = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
TEXTLIKE = st.lists(
    st.sampled_from(
        [
            *"aB. !?…\n\r\t“”)*",
            "\r\n",
            "\n\n",
            "。",
            "Mr. ",
            "e\u0301",
            "👩‍👩‍👧",
            "🇨🇭",
            "\u200b",
            "\u00a0",
            "\u3000",
            "שלום",
            "<b>",
            "&amp;",
            "\u2028",
        ]
    )
).map("".join)


@given(st.one_of(ANYTHING, TEXTLIKE))
@example("")
@example(" \r\n\t\n ")
@example("a" + 2000 * " " + "b")
@example("\n\nA b.\r\n\r\nC?\rD\n")
def test_the_parts_join_to_exactly_the_text_and_stand_where_they_say(content):
    blocks = cut(content)
    assert "".join(block.text for block in blocks) == content
    for block in blocks:
        assert content[block.start : block.end] == block.text
        if block.parts:
            assert "".join(part.text for part in block.parts) == block.text
        else:
            assert block.text.isspace()
        for part in block.parts:
            assert content[part.start : part.start + len(part.text)] == part.text
            assert part.sentence == bool(part.text.strip())
            assert len(part.text) <= LONGEST or not part.sentence


@given(st.one_of(ANYTHING, TEXTLIKE))
def test_the_page_holds_exactly_the_text(content):
    page = TextOf()
    page.feed(render_to_string("annotation/_text.html", {"content": content}).strip())
    page.close()
    assert page.text == content


class TextOf(HTMLParser):
    """All character data, references resolved."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_charref(self, name: str) -> None:
        self.text += chr(int(name[1:], 16) if name.startswith("x") else int(name))

    def handle_entityref(self, name: str) -> None:
        self.text += {"amp": "&", "lt": "<", "gt": ">", "quot": '"'}[name]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("“All well.” She turned back.", ["“All well.”", "She turned back."]),
        ("“Stop!” he said. It stopped.", ["“Stop!” he said.", "It stopped."]),
        ("Mr. Ward met Dr. J. R. Finch. They spoke.", ["Mr. Ward met Dr. J. R. Finch.", "They spoke."]),
        ("It cost 3.50 francs. Cheap.", ["It cost 3.50 francs.", "Cheap."]),
        ("Wait… what? Yes.", ["Wait… what?", "Yes."]),
        ("*He left.* She stayed.", ["*He left.*", "She stayed."]),
        ("Roses are red,\nViolets are blue", ["Roses are red,", "Violets are blue"]),
        ("A line that is\nwrapped by hand. Next.", ["A line that is\nwrapped by hand.", "Next."]),
        ("雨が降った。彼は帰った。", ["雨が降った。", "彼は帰った。"]),
        ("هل جاء؟ نعم.", ["هل جاء؟", "نعم."]),
        ("No stop at all", ["No stop at all"]),
        ("", []),
        (" \n\n\t ", []),
    ],
)
def test_sentences_are_those_a_reader_sees(content, expected):
    assert [part.text for part in sentences(content)] == expected


def test_blank_lines_part_paragraphs_whatever_ends_a_line():
    for newline in ("\n", "\r\n", "\r"):
        content = newline.join(["One", "still one", " ", "", "Two", ""])
        assert [block.text for block in cut(content) if block.parts] == [f"One{newline}still one", "Two"]


def test_a_long_text_without_a_full_stop_is_cut_where_it_breathes():
    content = "and then, without a pause, " * 8000
    found = sentences(content)
    assert max(len(part.text) for part in found) <= LONGEST
    assert all(part.text.rstrip().endswith(",") for part in found[:-1])


@pytest.mark.parametrize("sign", ["a", ".", " ", "\n", "e\u0301", "👩‍👩‍👧", "\u0301", "?”", "\r"])
def test_two_hundred_thousand_of_one_sign_are_no_problem(sign):
    """Quadratic time would not end within any test's patience."""
    content = (sign * 200_000)[:200_000]
    assert "".join(block.text for block in cut(content)) == content


def test_a_cut_does_not_part_a_letter_from_its_accent():
    for part in sentences("e\u0301" * 5000)[1:]:
        assert part.text.startswith("e")
