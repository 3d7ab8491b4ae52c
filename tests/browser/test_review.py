"""Reviewing in a real browser: drafts, keys, errors, two windows."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from django.conf import settings
from playwright.sync_api import expect

from annotation.models import Draft, Feedback
from tests.browser.conftest import sign_in
from tests.web import scenery

pytestmark = pytest.mark.browser


def saved(page) -> None:
    page.locator("#saved", has_text=re.compile("^Saved ")).wait_for()


def test_a_wrong_password_is_told_and_the_right_one_leads_to_the_queue(scene, visitor):
    page = visitor()
    page.goto("/review/")
    page.get_by_label("Username").fill("edith")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("Please enter a correct username and password").wait_for()
    page.get_by_label("Password").fill(scenery.PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="My queue").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()


def test_a_draft_saves_itself_and_survives_a_reload(review):
    review.get_by_label("Critique").press_sequentially("The slant of the hand tells", delay=10)
    review.get_by_label("Score", exact=True).fill("7")
    saved(review)
    review.reload()
    assert review.get_by_label("Critique").input_value() == "The slant of the hand tells"
    assert review.get_by_label("Score", exact=True).input_value() == "7"
    review.get_by_text("Draft saved").wait_for()


def test_long_writing_is_saved_while_it_goes_on(review):
    field = review.get_by_label("Critique")
    for _ in range(16):  # 16 x 400 ms: never a pause that is long enough, and yet
        field.press_sequentially("word ")
        review.wait_for_timeout(400)
    assert Draft.objects.get().critique.startswith("word word ")


def test_a_whole_review_by_keyboard(review):
    first = review.url
    review.keyboard.press("?")
    review.get_by_role("dialog").get_by_text("Submit, and open the next text").wait_for()
    review.keyboard.press("Escape")
    review.keyboard.press("g")
    review.get_by_role("dialog").get_by_text("Name what is there.").wait_for()
    review.keyboard.press("Escape")
    review.keyboard.press("c")
    review.keyboard.type("A critique with a ? and a g in it.")
    review.keyboard.press("Enter")
    review.keyboard.type("And a second line.")
    review.keyboard.press("Escape")
    review.keyboard.press("d")
    review.keyboard.type("Half and half.")
    review.keyboard.press("Escape")
    review.keyboard.press("s")
    review.keyboard.type("64")
    assert review.get_by_label("Score, as a slider").input_value() == "64"
    review.keyboard.press("Control+Enter")
    review.wait_for_url(lambda url: url != first)
    row = Feedback.objects.get()
    assert (row.critique.replace("\r\n", "\n"), row.deliberation, row.score) == (
        "A critique with a ? and a g in it.\nAnd a second line.",
        "Half and half.",
        64.0,
    )
    assert review.get_by_label("Critique").input_value() == ""
    review.get_by_text("1 of 3 done").wait_for()


@pytest.mark.parametrize("height", [720, 900])
def test_score_and_button_are_in_view_however_long_the_words_are_and_hide_no_focus(review, height):
    review.set_viewport_size({"width": 1280, "height": height})
    critique, deliberation = review.get_by_label("Critique"), review.get_by_label("Deliberation")
    critique.fill("A line.\n" * 60)
    score, button = review.get_by_label("Score", exact=True), review.get_by_role("button", name="Submit and next")
    expect(score).to_be_in_viewport(ratio=1)
    expect(button).to_be_in_viewport(ratio=1)
    scrolled = "document.querySelector('.verdict').scrollTop"
    before = review.evaluate(scrolled)
    score.focus()
    assert review.evaluate(scrolled) == before, "what is in view already scrolls nothing"
    deliberation.press("End")  # scrolls to it
    above, below = deliberation.bounding_box(), score.bounding_box()
    assert above["y"] + above["height"] <= below["y"]


def test_an_error_keeps_the_words_and_takes_one_to_the_field(review):
    review.get_by_label("Critique").fill("Words that must not get lost.")
    review.get_by_label("Score", exact=True).fill("150")
    review.get_by_role("button", name="Submit and next").click()
    review.get_by_text("The score must lie from 0 to 100.").wait_for()
    assert review.get_by_label("Critique").input_value() == "Words that must not get lost."
    assert review.evaluate("document.activeElement.id") == "id_score"
    assert not Feedback.objects.exists()


def test_two_quick_clicks_submit_once_and_mark_no_other_text(review):
    review.get_by_label("Critique").fill("Once.")
    review.get_by_label("Score", exact=True).fill("50")
    review.get_by_role("button", name="Submit and next").dblclick()
    review.get_by_text("1 of 3 done").wait_for()
    assert Feedback.objects.count() == 1
    assert review.locator("[aria-invalid=true]").count() == 0


def test_two_windows_show_both_texts_instead_of_overwriting(review):
    other = review.context.new_page()
    other.goto(review.url)
    review.get_by_label("Critique").fill("From the first window.")
    saved(review)
    other.get_by_label("Critique").fill("From the second window.")
    other.get_by_text("This draft was changed in another window").wait_for()
    assert "From the first window." in other.locator("#conflict").inner_text()
    assert other.get_by_label("Critique").input_value() == "From the second window."
    assert Draft.objects.get().critique == "From the first window."
    other.get_by_role("button", name="Keep mine").click()
    saved(other)
    assert Draft.objects.get().critique == "From the second window."


def test_without_a_network_it_says_so_and_saves_when_it_is_back(review):
    review.context.set_offline(True)
    review.get_by_label("Critique").fill("Written on a train.")
    review.get_by_text("Not saved: no connection").wait_for()
    review.context.set_offline(False)
    saved(review)
    assert Draft.objects.get().critique == "Written on a train."


def test_a_session_that_ended_is_told_and_saving_goes_on_after_signing_in(review):
    review.context.clear_cookies(name="sessionid")
    review.get_by_label("Critique").fill("Long thoughts.")
    review.get_by_text("Not saved: you are signed out").wait_for()
    sign_in(review.context.new_page(), "edith")
    saved(review)
    assert Draft.objects.get().critique == "Long thoughts."
    review.get_by_label("Score", exact=True).fill("55")
    review.get_by_role("button", name="Submit and next").click()
    review.get_by_text("1 of 3 done").wait_for()


def test_declining_goes_on_to_the_next_text(review):
    first = review.url
    review.get_by_text("Decline this text…").click()
    review.get_by_label("It cannot be read").check()
    review.get_by_role("button", name="Decline and next").click()
    review.wait_for_url(lambda url: url != first)
    review.get_by_text("A colleague gets that text.").wait_for()


def test_script_in_a_text_does_nothing(scene, visitor):
    scenery.ledger_batch(scene, content=scenery.HOSTILE)
    page = visitor("edith")
    page.get_by_role("button", name="Start reviewing").click()
    page.get_by_text("<script>window.hacked = true</script>").wait_for()
    assert page.evaluate("window.hacked") is None


def test_it_works_without_scripts(scene, visitor):
    scenery.ledger_batch(scene)
    page = visitor("edith", java_script_enabled=False)
    page.get_by_role("button", name="Start reviewing").click()
    page.get_by_label("Critique").fill("No script needed.")
    page.get_by_label("Score", exact=True).fill("40")
    page.get_by_role("button", name="Submit and next").click()
    page.get_by_text("1 of 3 done").wait_for()
    page.get_by_role("link", name="Guidelines").click()
    page.get_by_role("heading", name="Short stories").wait_for()


def test_the_queue_grows_by_itself(scene, visitor, process_env):
    """A batch that another process makes appears on an open page, through the socket."""
    page = visitor("edith")
    page.get_by_text("Nothing waits for you").wait_for()
    page.locator("body[data-socket=open]").wait_for()
    make = "scenery.ledger_batch(scenery.Scenery(panel=Expert.objects.get(alias='panel')))"
    other_process(f"from tests.web import scenery; from annotation.models import Expert; {make}", process_env)
    page.get_by_role("button", name="Start reviewing").wait_for(timeout=8_000)  # sooner than the slow look of a page without news


def other_process(code: str, env: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-c", f"import django; django.setup(); {code}"], env=env, cwd=settings.BASE_DIR, check=True, timeout=60)
