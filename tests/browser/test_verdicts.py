"""After the verdict: what was said is found again, compared with others and revised; what comes late is kept."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from annotation import actions
from annotation.models import Claim, Feedback
from tests.browser.test_review import other_process
from tests.web import scenery

pytestmark = pytest.mark.browser


@pytest.fixture
def batch(scene):
    return scenery.ledger_batch(scene)


def judge(page, words: str, score: str) -> None:
    page.get_by_label("Critique").fill(words)
    page.get_by_label("Score", exact=True).fill(score)
    page.get_by_role("button", name="Submit and next").click()


def test_a_verdict_is_found_again_compared_and_revised(scene, batch, visitor):
    rollout = batch.items.get(position=0).rollout
    actions.record_proxy_grades(rollout.run, batch.proxy, [{"id": rollout.pk, "sample": 0, "score": 91, "critique": "A fine light."}])
    page = visitor("edith")
    page.get_by_role("button", name="Start reviewing").click()
    judge(page, "The lamp is earned.", "62")
    page.get_by_text("1 of 3 done").wait_for()
    page.get_by_role("link", name="My verdicts").click()
    page.get_by_role("link", name="The lamp is earned.").click()
    page.get_by_text("You submitted this").wait_for()
    assert page.get_by_text("A fine light.").count() == 0

    page.get_by_role("button", name="Compare with others").click()
    page.get_by_role("heading", name="Beside yours").wait_for()
    page.get_by_text("+29.0").wait_for()  # 91 - 62
    page.get_by_text("A fine light.").first.wait_for()

    page.get_by_role("link", name="Revise…").click()
    page.get_by_label("Score", exact=True).fill("70")
    page.get_by_role("button", name="Save the revision").click()
    page.get_by_text("Say why you change your verdict.").wait_for()
    assert page.get_by_label("Score", exact=True).input_value() == "70"
    page.get_by_label("Why do you change it?").fill("The proxy saw the ending.")
    page.get_by_role("button", name="Save the revision").click()
    page.get_by_text("Revised. The earlier verdict is kept below.").wait_for()
    old, new = Feedback.objects.order_by("revision")
    assert (old.current, old.score, old.assisted) == (False, 62.0, False)
    assert (new.current, new.score, new.assisted, new.reason) == (True, 70.0, True, "The proxy saw the ending.")
    page.get_by_role("link", name="Revision 1").click()
    page.get_by_text("A later revision stands in its place").wait_for()


def test_highlights_are_changed_in_a_revision_and_the_earlier_ones_are_kept(scene, batch, visitor):
    page = visitor("edith")
    page.get_by_role("button", name="Start reviewing").click()
    page.get_by_text("Yours for").wait_for()
    page.keyboard.press("h")
    page.keyboard.press("+")
    page.get_by_text("Strength marked.").wait_for()
    judge(page, "The lamp is earned.", "62")
    page.get_by_text("1 of 3 done").wait_for()
    first = Feedback.objects.get()
    page.goto(f"{page.url.partition('/review/')[0]}/review/verdicts/{first.pk}/revise/")
    page.locator("#marks li").wait_for()
    page.get_by_role("button", name="To weakness").click()
    page.get_by_label("Comment on weakness 1").fill("Told too soon.")
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("+")
    page.get_by_label("Why do you change it?").fill("Read again.")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Revised. The earlier verdict is kept below.").wait_for()
    new = Feedback.objects.get(current=True)
    kept, added = new.spans.order_by("start")
    (before,) = first.spans.all()
    assert (before.sign, before.comment) == ("+", "")
    assert (kept.sign, kept.comment, kept.quote) == ("-", "Told too soon.", before.quote)
    assert (added.sign, added.quote) == ("+", new.item.rollout.content[added.start : added.end])


def test_words_that_come_after_the_lease_are_kept_as_an_extra_verdict(scene, batch, visitor):
    page = visitor("edith")
    page.get_by_role("button", name="Start reviewing").click()
    page.get_by_text("Yours for").wait_for()
    claim = Claim.objects.get(user=scene.people["edith"], ended=None, opened__isnull=False)
    Claim.objects.filter(ended=None).update(expires=timezone.now() - timedelta(minutes=1))
    actions.expire_claims()
    (other,) = actions.claim_next(user=scene.people["emil"], batch=batch)
    assert other.item_id == claim.item_id
    judge(page, "Late, but said.", "40")
    page.get_by_text("Kept as an extra verdict").wait_for()
    row = Feedback.objects.get(claim=claim)
    assert (row.critique, row.counted) == ("Late, but said.", False)


@pytest.mark.parametrize("socket", ["alive", "dead"])
def test_counts_follow_colleagues_with_a_socket_and_without(scene, batch, visitor, process_env, socket):
    page = visitor("edith")
    if socket == "dead":
        page.route_web_socket("**/ws/**", lambda ws: ws.close())
    page.get_by_role("button", name="Start reviewing").click()
    page.get_by_text("0 of 3 done").wait_for()
    if socket == "alive":
        page.locator("body[data-socket=open]").wait_for()
    page.get_by_label("Critique").fill("Half a thought")
    (claim,) = actions.claim_next(user=scene.people["emil"], batch=batch)
    submit = f"actions.submit_feedback('{claim.token}', key='emil', user=User.objects.get(username='emil'), critique='Done.', score=50)"
    other_process(f"from annotation import actions; from django.contrib.auth.models import User; {submit}", process_env)
    # With the socket sooner than the slow look of a page without news; without it that look must do.
    page.get_by_text("1 of 3 done").wait_for(timeout=8_000 if socket == "alive" else 30_000)
    assert page.get_by_label("Critique").input_value() == "Half a thought"
