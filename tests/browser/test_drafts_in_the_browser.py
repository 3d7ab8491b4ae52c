"""Words stay in the browser until the server has them: without a network, through a reload, a server that was away, full or blocked storage."""

from __future__ import annotations

import re

import pytest

from annotation.models import Draft, Feedback
from tests.browser.conftest import sign_in
from tests.web import scenery

pytestmark = pytest.mark.browser

COPIES = "Object.keys(localStorage).filter(name => name.startsWith('touchstone.draft.'))"


# In the page and not in the browser's network: the last words of a tab that is left pass Playwright by.
DOOR = """
    const fetch = window.fetch;
    window.fetch = (address, options) => {
        const door = String(address).endsWith("/draft/") && sessionStorage.getItem("door");
        if (!door) return fetch(address, options);
        return door === "shut" ? Promise.reject(new TypeError("offline")) : Promise.resolve(new Response("", { status: Number(door) }));
    };
"""


@pytest.fixture
def review(scene, visitor):
    """Edith's page on the first of three long stories."""
    scenery.ledger_batch(scene)
    page = visitor("edith")
    page.add_init_script(DOOR)
    page.get_by_role("button", name="Start reviewing").click()
    page.get_by_text("Yours for").wait_for()
    return page


def saved(page) -> None:
    page.locator("#saved", has_text=re.compile("^Saved ")).wait_for()
    page.wait_for_function(f"{COPIES}.length === 0")


def server(page, answers: bool, status: int = 0) -> None:
    """Whether this tab's drafts reach the server; with `status` its door answers with that. Pages come as ever, so one can reload."""
    page.evaluate("state => sessionStorage.setItem('door', state)", "" if answers else str(status or "shut"))


def test_words_written_without_a_server_are_there_after_a_reload(review):
    server(review, answers=False)
    review.get_by_label("Critique").fill("Written while nobody listened.")
    review.get_by_label("Score", exact=True).fill("61")
    review.keyboard.press("Escape")
    review.keyboard.press("h")
    review.keyboard.press("+")
    review.get_by_text("Not saved: no connection. Kept in this browser.").wait_for()
    review.reload()
    review.get_by_text("Restored from this browser").wait_for()
    assert review.get_by_label("Critique").input_value() == "Written while nobody listened."
    assert review.get_by_label("Score", exact=True).input_value() == "61"
    assert review.get_by_label("Score, as a slider").input_value() == "61"
    review.get_by_role("button", name="Strength 1: show it in the text").wait_for()
    assert not Draft.objects.exists()
    server(review, answers=True)
    review.evaluate("window.dispatchEvent(new Event('online'))")
    saved(review)
    draft = Draft.objects.get()
    assert (draft.critique, draft.score, len(draft.spans)) == ("Written while nobody listened.", "61", 1)
    review.reload()
    review.get_by_text("Yours for").wait_for()
    assert review.get_by_text("Restored from this browser").count() == 1  # it is there, and hidden
    assert not review.get_by_text("Restored from this browser").is_visible()


def test_words_written_before_the_script_was_there_are_saved(review):
    held = []
    review.route("**/review.js", lambda route: held.append(route))
    review.reload(wait_until="commit")
    review.get_by_label("Critique").fill("Written at once.")
    assert held
    held[0].continue_()
    saved(review)
    assert Draft.objects.get().critique == "Written at once."


def test_words_written_before_the_script_was_there_stand_beside_those_that_the_browser_kept(review):
    server(review, answers=False)
    review.get_by_label("Critique").fill("Written while nobody listened.")
    review.get_by_text("Not saved: no connection. Kept in this browser.").wait_for()
    held = []
    review.route("**/review.js", lambda route: held.append(route))
    review.reload(wait_until="commit")
    review.get_by_label("Critique").fill("Written at once.")
    server(review, answers=True)
    held[0].continue_()
    review.get_by_role("heading", name="This browser had kept other words of yours").wait_for()
    assert review.locator("#conflict").get_by_text("Written while nobody listened.").is_visible()
    review.get_by_role("button", name="Keep mine").click()
    saved(review)
    assert Draft.objects.get().critique == "Written at once."


def test_a_server_that_restarts_gets_the_words_afterwards(review):
    review.get_by_label("Critique").fill("Before.")
    saved(review)
    server(review, answers=False, status=502)
    review.get_by_label("Critique").fill("Before. And while it was away.")
    review.get_by_text("Not saved: the server did not take it. Trying again.").wait_for()
    server(review, answers=True)
    saved(review)
    assert Draft.objects.get().critique == "Before. And while it was away."


def test_a_tab_that_was_closed_leaves_its_words_to_the_next(review):
    server(review, answers=False)
    review.get_by_label("Critique").fill("In the tab that went.")
    review.wait_for_function(f"{COPIES}.length === 1")
    other = review.context.new_page()
    address = review.url
    review.close()
    other.goto(address)
    other.get_by_text("Restored from this browser").wait_for()
    assert other.get_by_label("Critique").input_value() == "In the tab that went."
    saved(other)


def test_where_both_have_changed_both_are_shown(review):
    review.get_by_label("Critique").fill("First.")
    saved(review)
    server(review, answers=False)
    review.get_by_label("Critique").fill("First. Then here, unheard.")
    review.get_by_text("Not saved: no connection").wait_for()
    Draft.objects.update(critique="First. Then elsewhere.", version=7)
    review.reload()
    review.get_by_text("This draft was changed elsewhere while you wrote here").wait_for()
    assert review.get_by_label("Critique").input_value() == "First. Then here, unheard."
    assert "First. Then elsewhere." in review.locator("#conflict").inner_text()
    server(review, answers=True)
    review.get_by_role("button", name="Take the other").click()
    saved(review)
    assert review.get_by_label("Critique").input_value() == Draft.objects.get().critique == "First. Then elsewhere."


def test_two_tabs_show_each_others_highlights_instead_of_overwriting(review):
    other = review.context.new_page()
    other.goto(review.url)
    review.keyboard.press("h")
    review.keyboard.press("+")
    saved(review)
    other.get_by_label("Critique").fill("From the second tab.")
    other.get_by_text("This draft was changed in another window").wait_for()
    assert "+ “Every keeper of Skarn light" in other.locator("#conflict").inner_text()
    other.get_by_role("button", name="Take the other").click()
    other.get_by_role("button", name="Strength 1: show it in the text").wait_for()
    assert other.get_by_label("Critique").input_value() == ""


def test_a_copy_that_the_server_has_already_is_no_conflict(review):
    """The answer to a save got lost: the same words on both sides."""
    review.get_by_label("Critique").fill("Twice the same.")
    saved(review)
    name, copy = review.evaluate(
        """() => {
            const form = document.getElementById("verdict");
            const values = Object.fromEntries(["critique", "deliberation", "score", "spans"].map(name => [name, form.elements[name].value]));
            return [`touchstone.draft.${form.dataset.user}.${form.dataset.item}`, JSON.stringify({ values, version: 0, at: Date.now() })];
        }"""
    )
    review.evaluate("([name, copy]) => localStorage.setItem(name, copy)", [name, copy])
    review.reload()
    review.wait_for_function(f"{COPIES}.length === 0")
    assert not review.locator("#conflict").is_visible()
    assert not review.locator("#restored").is_visible()


def test_somebody_else_at_the_same_browser_does_not_see_them(review):
    server(review, answers=False)
    review.get_by_label("Critique").fill("Edith's own.")
    review.wait_for_function(f"{COPIES}.length === 1")
    review.get_by_role("button", name="Sign out").click()
    sign_in(review, "emil")
    review.get_by_role("button", name="Start reviewing").click()
    review.get_by_text("Yours for").wait_for()
    assert review.get_by_label("Critique").input_value() == ""
    assert review.evaluate(f"{COPIES}.length") == 1


@pytest.mark.parametrize(
    "storage",
    [
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }",
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })",
    ],
)
def test_without_storage_everything_else_works(storage, scene, visitor):
    scenery.ledger_batch(scene)
    page = visitor("edith")
    page.add_init_script(storage)
    page.get_by_role("button", name="Start reviewing").click()
    page.get_by_text("Yours for").wait_for()
    page.get_by_label("Critique").fill("No room in here.")
    page.locator("#saved", has_text=re.compile("^Saved ")).wait_for()
    assert Draft.objects.get().critique == "No room in here."
    page.get_by_label("Score", exact=True).fill("40")
    page.keyboard.press("Control+Enter")
    page.get_by_text("1 of 3 done").wait_for()


def test_handing_in_leaves_nothing_behind(review):
    server(review, answers=False)
    review.get_by_label("Critique").fill("Straight in.")
    review.get_by_label("Score", exact=True).fill("70")
    review.wait_for_function(f"{COPIES}.length === 1")
    review.get_by_role("button", name="Submit and next").click()
    review.get_by_text("1 of 3 done").wait_for()
    assert review.evaluate(f"{COPIES}.length") == 0
    assert Feedback.objects.get().critique == "Straight in."


def test_who_has_left_the_panel_is_told_and_keeps_the_words(scene, review):
    scene.panel.members.remove(scene.people["edith"])
    review.get_by_label("Critique").fill("Too late.")
    review.locator("#saved", has_text="no longer on the panel").wait_for()
    assert review.get_by_label("Critique").input_value() == "Too late."
    assert review.evaluate(f"{COPIES}.length") == 1
    review.get_by_label("Score", exact=True).fill("70")
    review.get_by_role("button", name="Submit and next").click()
    review.get_by_role("alert").get_by_text("no longer on the panel").wait_for()
    assert review.get_by_label("Critique").input_value() == "Too late."
    assert not Feedback.objects.exists()


def test_old_copies_are_dropped(review):
    review.evaluate(
        """() => {
            localStorage.setItem("touchstone.draft.9.1", JSON.stringify({ values: {}, version: 0, at: 1000 }));
            localStorage.setItem("touchstone.draft.9.2", JSON.stringify({ values: {}, version: 0, at: Date.now() }));
            localStorage.setItem("something else", "stays");
        }"""
    )
    review.reload()
    review.get_by_text("Yours for").wait_for()
    assert sorted(review.evaluate("Object.keys(localStorage)")) == ["something else", "touchstone.draft.9.2"]
