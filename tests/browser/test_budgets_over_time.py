"""The charts of budgets: drawn where something was spent, and fetched when they are looked at."""

from __future__ import annotations

import pytest

from annotation import actions
from tests.web import scenery

pytestmark = pytest.mark.browser


def test_a_chart_is_drawn_when_it_is_opened_and_says_the_figures(scene, visitor):
    batch = scenery.ledger_batch(scene)
    edith = scene.people["edith"]
    for limit in ({"expert": scene.panel}, {"user": edith}, {"expert": scene.program}):
        actions.set_budget(unit="samples", limit=5, **limit)
    (claim,) = actions.claim_next(user=edith, batch=batch)
    actions.submit_feedback(claim.token, key="k", critique="x", score=5, user=edith)
    page = visitor("ada")
    page.goto("/budgets/")
    page.locator(".burn canvas").first.wait_for()
    assert page.locator(".burn canvas").count() == 1
    assert page.get_by_text("Over time").count() == 2  # nothing was spent of the third
    page.get_by_text("Over time").nth(1).click()
    page.locator(".burn canvas").nth(1).wait_for()
    box = page.locator(".burn .u-over").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20)
    page.get_by_text("1 verdict of 5 verdicts").wait_for()


def test_one_limit_is_changed_and_the_page_says_what_it_was(scene, visitor):
    budget = actions.set_budget(unit="money", limit=5, expert=scene.panel)
    page = visitor("ada")
    page.goto(f"/budgets/{budget.pk}/")
    page.get_by_label("Limit in dollars").fill("7.5")
    page.get_by_role("button", name="Change it").click()
    page.get_by_text("It holds at once.").first.wait_for()
    assert page.get_by_text("limit was 5").count() == 1
    budget.refresh_from_db()
    assert budget.limit == 7.5
