"""The next text is fetched while one still writes on this one, and put in its place without a wait and without losing anything."""

from __future__ import annotations

import pytest

from annotation.models import Claim, Feedback
from tests.browser.conftest import sign_in

pytestmark = pytest.mark.browser


@pytest.fixture
def review(review):
    """The same page, with the second text fetched ahead."""
    review.locator("body[data-ahead=ready]").wait_for()
    review.evaluate("window.sameDocument = true")
    return review


def write(page, critique: str = "Said in full.", score: str = "60") -> None:
    page.get_by_label("Critique").fill(critique)
    page.get_by_label("Score", exact=True).fill(score)


def test_the_next_text_is_put_in_place(review):
    first = review.url
    write(review, "The first.")
    review.keyboard.press("Control+Enter")
    review.wait_for_url(lambda url: url != first)
    assert review.evaluate("window.sameDocument")  # no page was loaded
    assert review.evaluate("document.activeElement.tagName") == "H1"
    assert review.evaluate("scrollY") == 0
    assert review.get_by_label("Critique").input_value() == ""
    review.get_by_text("1 of 3 done").wait_for()
    # All parts work on the new text: its draft, its highlights, its own verdict.
    review.keyboard.press("h")
    review.keyboard.press("-")
    write(review, "The second.", "70")
    second = review.url
    review.locator("body[data-ahead=ready]").wait_for()
    review.keyboard.press("Control+Enter")
    review.wait_for_url(lambda url: url != second)
    review.get_by_text("2 of 3 done").wait_for()
    assert review.evaluate("window.sameDocument")
    assert list(Feedback.objects.order_by("pk").values_list("critique", "score", "spans__sign")) == [
        ("The first.", 60.0, None),
        ("The second.", 70.0, "-"),
    ]


def test_the_last_leads_to_the_page_that_says_so(review):
    for n in range(3):
        at = review.url
        write(review, f"Text {n}.")
        review.keyboard.press("Control+Enter")
        review.wait_for_url(lambda url, at=at: url != at)
    review.get_by_role("heading", name="The batch is finished").wait_for()
    assert review.title() == "Batch finished · Touchstone"
    review.get_by_role("link", name="Back to my queue").click()
    review.get_by_role("heading", name="My queue").wait_for()


def test_back_shows_what_one_did_last(review):
    first = review.url
    write(review, "Look at this again.")
    review.keyboard.press("Control+Enter")
    review.wait_for_url(lambda url: url != first)
    review.go_back()
    review.get_by_text("Look at this again.").first.wait_for()
    assert review.locator("#verdict").count() == 0


def test_a_text_fetched_ahead_does_not_count_as_seen(scene, review):
    ahead = Claim.objects.get(user=scene.people["edith"], ended=None, opened=None)
    at = review.url
    write(review)
    review.keyboard.press("Control+Enter")
    review.wait_for_url(lambda url: url != at)
    ahead.refresh_from_db()
    assert ahead.opened is not None
    assert str(ahead.token) in review.url


def test_declining_puts_the_next_in_place_and_says_so(review):
    first = review.url
    review.get_by_text("Decline this text…").click()
    review.get_by_role("button", name="Decline and next").click()
    review.locator("#decline .error").first.wait_for()
    assert review.url == first
    review.locator("#decline").get_by_role("radio").nth(2).check()
    review.get_by_role("button", name="Decline and next").click()
    review.wait_for_url(lambda url: url != first)
    review.get_by_text("A colleague gets that text.").wait_for()
    assert review.evaluate("window.sameDocument")


def test_without_a_network_it_says_so_and_can_be_sent_again_once(review):
    first = review.url
    write(review, "Once, whatever happens.")
    review.context.set_offline(True)
    review.get_by_role("button", name="Submit and next").click()
    review.get_by_role("alert").get_by_text("Not sent. No connection.").wait_for()
    assert review.get_by_label("Critique").input_value() == "Once, whatever happens."
    review.context.set_offline(False)
    # The answer to this one gets lost: the server has it, the page does not know.
    review.route("**/review/*/", lost_answer)
    review.get_by_role("button", name="Submit and next").click()
    review.get_by_role("alert").get_by_text("Not sent.").wait_for()
    review.unroute("**/review/*/")
    assert Feedback.objects.count() == 1
    review.get_by_role("button", name="Submit and next").click()
    review.wait_for_url(lambda url: url != first)
    review.get_by_text("1 of 3 done").wait_for()
    assert Feedback.objects.count() == 1


def lost_answer(route) -> None:
    if route.request.method == "POST":
        route.fetch()
        route.abort()
    else:
        route.fallback()


def test_actions_are_off_while_a_verdict_is_on_its_way(review):
    held = []
    review.route("**/review/*/", lambda route: held.append(route) if route.request.method == "POST" else route.fallback())
    write(review)
    review.get_by_role("button", name="Submit and next").click()
    review.locator("body[data-sending]").wait_for()
    assert review.get_by_role("button", name="Submit and next").get_attribute("aria-disabled") == "true"
    assert review.get_by_label("Critique").get_attribute("readonly") is not None
    review.keyboard.press("Control+Enter")
    review.get_by_role("button", name="Submit and next").click(force=True)
    at = review.url
    assert len(held) == 1
    held[0].continue_()
    review.wait_for_url(lambda url: url != at)
    assert review.get_by_label("Critique").get_attribute("readonly") is None


def test_an_ended_session_is_told_and_the_verdict_can_be_sent_afterwards(review):
    first = review.url
    write(review, "Across two sessions.")
    review.context.clear_cookies(name="sessionid")
    review.get_by_role("button", name="Submit and next").click()
    review.get_by_role("alert").get_by_text("You are signed out.").wait_for()
    sign_in(review.context.new_page(), "edith")
    review.get_by_role("button", name="Submit and next").click()
    review.wait_for_url(lambda url: url != first)
    assert Feedback.objects.get().critique == "Across two sessions."


def test_the_counts_follow_what_others_do(scene, review):
    from annotation import actions

    review.locator("body[data-socket=open]").wait_for()
    (claim,) = actions.claim_next(user=scene.people["emil"], batch=Claim.objects.first().item.batch)
    actions.submit_feedback(claim.token, key="emil", user=scene.people["emil"], critique="Mine.", score="50")
    review.evaluate("document.getElementById('review').dispatchEvent(new Event('refresh'))")
    review.get_by_text("1 of 3 done").wait_for()
