"""Everybody may choose their own keys; single keys do nothing while one writes."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


def focused(page) -> str:
    return page.evaluate("document.activeElement.id")


def test_a_key_can_be_changed_and_stays_so(review):
    review.keyboard.press("?")
    sheet = review.get_by_role("dialog", name="Shortcuts")
    sheet.get_by_role("button", name="Change the key c").click()
    review.keyboard.press("w")
    sheet.get_by_text("Write the critique: w").wait_for()
    review.keyboard.press("Escape")
    sheet.wait_for(state="hidden")
    review.reload()
    review.keyboard.press("c")
    assert focused(review) == ""
    review.keyboard.press("w")
    assert focused(review) == "id_critique"
    review.keyboard.type("w and c are letters here")
    assert review.get_by_label("Critique").input_value() == "w and c are letters here"


def test_a_key_that_is_taken_is_refused_by_name(review):
    review.keyboard.press("?")
    sheet = review.get_by_role("dialog", name="Shortcuts")
    sheet.get_by_role("button", name="Change the key +").click()
    review.keyboard.press("s")
    sheet.get_by_text("“s” already means: Set the score. Choose another.").wait_for()
    review.keyboard.press("p")
    sheet.get_by_text("Mark as a strength: p").wait_for()
    sheet.get_by_role("button", name="Change the key g").click()
    review.keyboard.press("Escape")  # ends the waiting, not the sheet
    assert sheet.is_visible()
    review.keyboard.press("Escape")
    review.keyboard.press("h")
    review.keyboard.press("p")
    review.get_by_role("button", name="Strength 1: show it in the text").wait_for()


def test_the_usual_keys_come_back(review):
    review.evaluate("""localStorage.setItem("touchstone.keys", '{"critique": "x", "nonsense": "y", "score": "too long"}')""")
    review.reload()
    review.keyboard.press("x")
    assert focused(review) == "id_critique"
    review.keyboard.press("Escape")
    review.keyboard.press("?")
    review.get_by_role("button", name="Back to the usual keys").click()
    review.keyboard.press("Escape")
    review.keyboard.press("c")
    assert focused(review) == "id_critique"


def test_the_page_names_the_keys_as_they_are(review):
    assert review.get_by_role("link", name="Guidelines g").count() == 1
    review.evaluate("""localStorage.setItem("touchstone.keys", '{"guidelines": "r"}')""")
    review.reload()
    review.get_by_role("link", name="Guidelines r").wait_for()
    review.keyboard.press("r")
    review.get_by_role("dialog", name="Guidelines").wait_for()
