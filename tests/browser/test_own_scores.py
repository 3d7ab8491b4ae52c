"""The small picture of one's own recent scores."""

from __future__ import annotations

import pytest

from annotation import actions
from tests.web import scenery

pytestmark = pytest.mark.browser


def test_own_scores_are_shown_with_the_present_one_among_them(scene, visitor):
    user = scene.people["edith"]
    earlier = scenery.ledger_batch(scene, key="earlier")
    for n, score in enumerate(["40", "60", "80"]):
        (claim,) = actions.claim_next(user=user, batch=earlier)
        actions.submit_feedback(claim.token, key=str(n), user=user, critique="So.", score=score)
    scenery.ledger_batch(scene)
    page = visitor("edith")
    page.get_by_role("button", name="Start reviewing").click()
    page.get_by_text("Your last 3 scores: half of them from 50 to 70").wait_for()  # quartiles of 40, 60, 80
    page.get_by_text("Yours for").wait_for()  # the page's script is at work
    line = page.locator("#own-scores line")
    assert line.get_attribute("class") == "unset"
    page.get_by_label("Score", exact=True).fill("25")
    assert (line.get_attribute("class"), line.get_attribute("x1")) == ("", "50")  # a quarter of 200
    page.get_by_label("Score", exact=True).fill("250")
    assert line.get_attribute("class") == "unset"


def test_before_there_are_three_there_is_no_picture(scene, visitor):
    scenery.ledger_batch(scene)
    page = visitor("edith")
    page.get_by_role("button", name="Start reviewing").click()
    page.get_by_text("Yours for").wait_for()
    assert page.locator("#own-scores").count() == 0
