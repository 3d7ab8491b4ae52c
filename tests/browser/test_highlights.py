"""Marking passages of a text: with the mouse, by keyboard, stored as Python counts."""

from __future__ import annotations

import re

import pytest

from annotation.models import Draft, Feedback, Span
from tests.browser.test_looks import AXE
from tests.web import scenery

pytestmark = pytest.mark.browser

# Emoji of one to seven code points, accents as marks of their own, right-to-left words, lines that end like on DOS.
STRANGE = (
    "🌊 The sea 👩\u200d👩\u200d👧 came in.\r\nIt sto\u0308d still 🇨🇭!\r\n\r\n\u200bהים היה שקט. "
    "The end of the first part came. 𝒜 was the last letter.\n\n\n  Café e\u0301clair 🏴\u200d☠️ sank. <b>Nothing</b> &amp; nobody called."
)


@pytest.fixture
def open_text(scene, visitor):
    """`open_text(content)`: Edith's page on a text."""

    def go(content: str = scenery.LEDGER, **options):
        scenery.ledger_batch(scene, content=content)
        page = visitor("edith", **options)
        page.get_by_role("button", name="Start reviewing").click()
        page.get_by_text("Yours for").wait_for()
        return page

    return go


def select(page, words: str) -> None:
    """Drag the mouse over `words`, which stand in one line of one sentence."""
    box = page.evaluate(
        """words => {
            const walker = document.createTreeWalker(document.getElementById("text"), NodeFilter.SHOW_TEXT);
            for (let node = walker.nextNode(); node; node = walker.nextNode()) {
                const at = node.data.indexOf(words);
                if (at < 0) continue;
                const range = document.createRange();
                range.setStart(node, at);
                range.setEnd(node, at + words.length);
                node.parentElement.scrollIntoView({ block: "center" });
                const lines = [...range.getClientRects()].filter(line => line.width > 1);
                const [first, last] = [lines[0], lines[lines.length - 1]];
                return [first.left, first.top + first.height / 2, last.right, last.top + last.height / 2];
            }
        }""",
        words,
    )
    page.mouse.move(box[0] + 0.5, box[1])
    page.mouse.down()
    page.mouse.move((box[0] + box[2]) / 2, box[1], steps=4)
    page.mouse.move(box[2] - 0.5, box[3], steps=4)
    page.mouse.up()


def saved_spans(page) -> list[dict]:
    """The draft's highlights, once the server has all that was written."""
    page.locator("#saved", has_text=re.compile("^Saved ")).wait_for()
    page.wait_for_function("!Object.keys(localStorage).some(name => name.startsWith('touchstone.draft.'))")
    return Draft.objects.get().spans


def tool(page):
    return page.get_by_role("group", name="Highlight")


def test_the_page_holds_exactly_the_text(open_text):
    page = open_text(STRANGE)
    assert page.evaluate("document.getElementById('text').textContent") == STRANGE


def test_a_passage_marked_with_the_mouse_is_kept_with_its_comment(open_text):
    page = open_text()
    select(page, "a hand that leaned the other way")
    tool(page).get_by_role("button", name="Strength").click()
    tool(page).get_by_label("Comment on the highlight").fill("The forgery shown by slant, not told.")
    tool(page).get_by_role("button", name="Done").click()
    (span,) = saved_spans(page)
    quote = "a hand that leaned the other way"
    at = scenery.LEDGER.index(quote)
    assert span == {"start": at, "end": at + len(quote), "quote": quote, "sign": "+", "comment": "The forgery shown by slant, not told."}
    page.locator(".marks .plus").first.wait_for()
    page.reload()
    page.get_by_role("button", name="Strength 1: show it in the text").wait_for()
    assert page.get_by_label("Comment on strength 1").input_value() == "The forgery shown by slant, not told."


@pytest.mark.parametrize(
    "words", ["sea 👩\u200d👩\u200d👧 came", "sto\u0308d still 🇨🇭", "היה", "𝒜 was", "éclair 🏴\u200d☠️ sank".replace("é", "e\u0301")]
)
def test_offsets_are_those_that_python_counts(words, open_text):
    page = open_text(STRANGE)
    select(page, words)
    tool(page).get_by_role("button", name="Weakness").click()
    (span,) = saved_spans(page)
    assert STRANGE[span["start"] : span["end"]] == span["quote"] == words
    page.get_by_label("Critique").fill("Strange, but counted.")
    page.get_by_label("Score", exact=True).fill("50")
    page.keyboard.press("Control+Enter")
    page.get_by_text("1 of 3 done").wait_for()
    row = Span.objects.get()
    assert (STRANGE[row.start : row.end], row.quote, row.sign) == (words, words, "-")


def test_everything_by_keyboard(open_text):
    page = open_text()
    keys = page.keyboard
    keys.press("h")
    keys.press("j")
    keys.press("ArrowDown")
    keys.press("+")
    page.get_by_text("Strength marked.").wait_for()
    keys.press("Enter")
    keys.type("Quiet, and exact. + - j k stay letters here.")
    keys.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "“Wind north-west."
    keys.press("ArrowDown")
    keys.press("Shift+ArrowDown")
    keys.press("Shift+ArrowDown")
    keys.press("-")
    first = scenery.LEDGER.index("“Wind")
    second = scenery.LEDGER.index("All well.”")
    end = scenery.LEDGER.index("neighbours.") + len("neighbours.")
    assert [(span["start"], span["end"], span["sign"], span["comment"]) for span in saved_spans(page)] == [
        (first, first + len("“Wind north-west."), "+", "Quiet, and exact. + - j k stay letters here."),
        (second, end, "-", ""),
    ]
    keys.press("Delete")
    page.get_by_text("Weakness removed.").wait_for()
    page.wait_for_function("JSON.parse(document.getElementById('id_spans').value).length === 1")
    keys.press("c")
    assert page.evaluate("document.activeElement.id") == "id_critique"


def test_the_list_edits_quotes_removes_and_puts_back(open_text):
    page = open_text()
    page.keyboard.press("h")
    page.keyboard.press("+")
    item = page.locator("#marks li")
    item.get_by_label("Comment on strength 1").fill("It opens well.")
    item.get_by_role("button", name="To weakness").click()
    item.get_by_role("button", name="Quote").click()
    critique = page.get_by_label("Critique")
    sentence = scenery.LEDGER.split(". ")[0] + "."
    assert critique.input_value() == f"> {sentence}\n\nIt opens well."
    item.get_by_role("button", name="Remove").click()
    assert item.count() == 0
    page.get_by_role("button", name="Put back the highlight you removed").click()
    assert page.get_by_label("Comment on weakness 1").input_value() == "It opens well."
    page.get_by_role("button", name="Weakness 1: show it in the text").press("Enter")
    assert page.evaluate("document.activeElement.textContent") == sentence  # and from there one goes on by keyboard
    (span,) = saved_spans(page)
    assert (span["quote"], span["sign"], span["comment"]) == (sentence, "-", "It opens well.")


def test_a_selection_that_is_not_marked_leaves_nothing(open_text):
    page = open_text()
    select(page, "Lamp dark four minutes")
    tool(page).wait_for()
    page.keyboard.press("Escape")
    tool(page).wait_for(state="hidden")
    select(page, "Nobody called")
    tool(page).wait_for()
    page.get_by_label("Critique").click()
    tool(page).wait_for(state="hidden")
    page.locator(".marks i").first.wait_for(state="detached")
    assert page.locator("#id_spans").input_value() in ("", "[]")


def test_a_double_click_selects_a_word(open_text):
    page = open_text("One word here.\n\nAnd more.")
    page.locator("#text").get_by_text("One word here.").dblclick()
    tool(page).get_by_role("button", name="Strength").click()
    (span,) = saved_spans(page)
    assert span["quote"] in ("One", "word", "here")


def test_clicking_a_highlight_opens_it(open_text):
    page = open_text()
    select(page, "Lamp dark four minutes")
    tool(page).get_by_role("button", name="Strength").click()
    tool(page).get_by_role("button", name="Done").click()
    page.locator("#text").get_by_text("Lamp dark four minutes").click()
    tool(page).get_by_role("button", name="Weakness").click()
    assert tool(page).get_by_role("button", name="Weakness").get_attribute("aria-pressed") == "true"
    tool(page).get_by_role("button", name="Remove").click()
    tool(page).wait_for(state="hidden")
    assert page.locator("#marks li").count() == 0


def test_highlights_are_handed_in_with_the_verdict_and_shown_beside_an_error(open_text):
    page = open_text()
    page.keyboard.press("h")
    page.keyboard.press("+")
    page.get_by_label("Critique").fill("Good start.")
    page.get_by_label("Score", exact=True).fill("150")
    page.get_by_role("button", name="Submit and next").click()
    page.get_by_text("The score must lie from 0 to 100.").wait_for()
    assert page.get_by_role("button", name="Strength 1: show it in the text").count() == 1
    page.locator(".marks .plus").first.wait_for()
    page.get_by_label("Score", exact=True).fill("80")
    first = page.url
    page.get_by_role("button", name="Submit and next").click()
    page.wait_for_url(lambda url: url != first)
    assert Feedback.objects.get().spans.get().quote == scenery.LEDGER.split(". ")[0] + "."
    assert page.locator("#marks li").count() == 0


def test_places_are_counted_alike_on_both_sides(open_text):
    """offsets.js against Python, at every place of a strange text."""
    page = open_text()
    found = page.evaluate(
        """async text => {
            const { offsets } = await import("/static/js/offsets.js");
            const places = offsets(text);
            return [...Array(text.length + 1).keys()].map(unit => [places.toPoints(unit), places.toPoints(unit, true)]);
        }""",
        STRANGE,
    )
    units = 0
    expected = []
    for point, sign in enumerate(STRANGE):
        wide = ord(sign) > 0xFFFF
        expected += [[point, point], *([[point, point + 1]] if wide else [])]
        units += 2 if wide else 1
    assert found == [*expected, [len(STRANGE), len(STRANGE)]]
    back = page.evaluate(
        """async text => {
            const { offsets } = await import("/static/js/offsets.js");
            const places = offsets(text);
            return [...Array([...text].length + 1).keys()].map(point => places.toUnits(point));
        }""",
        STRANGE,
    )
    assert back == [len(STRANGE[:point].encode("utf-16-le")) // 2 for point in range(len(STRANGE) + 1)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_tool_and_the_list_are_readable_by_everybody(scheme, open_text):
    page = open_text(bypass_csp=True, color_scheme=scheme)
    page.keyboard.press("h")
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    tool(page).get_by_label("Comment on the highlight").wait_for()
    page.evaluate(AXE)
    assert page.evaluate("axe.run().then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ' ' + n.html + n.failureSummary)))") == []
