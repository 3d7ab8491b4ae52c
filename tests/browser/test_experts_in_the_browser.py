"""An admin sets an expert up: the form shows what belongs to the kind and the rule that are chosen."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from annotation.models import Expert

pytestmark = pytest.mark.browser


def test_the_form_follows_the_kind_and_the_rule(scene, visitor):
    page = visitor("ada")
    page.goto("/experts/new/")
    members, options, rule = page.get_by_role("group", name="Members").first, page.get_by_label("Options"), page.get_by_label("Rule")
    kind = page.get_by_label("Kind")
    for chosen, shown in (("people", members), ("program", options), ("language model", options), ("several experts", rule)):
        kind.select_option(chosen)
        for field in (members, options, rule):
            expect(field).to_be_visible() if field is shown else expect(field).to_be_hidden()
    page.get_by_label("Name", exact=True).fill("Two and one")
    page.get_by_label("Alias").fill("two-and-one")
    expect(page.get_by_label("Audited, in %")).to_be_visible()
    rule.select_option("People first, another if they decline or time is over")
    expect(page.get_by_label("Audited, in %")).to_be_hidden()
    expect(page.get_by_label("Hours for people")).to_be_visible()
    rule.select_option("The mean of several verdicts")
    expect(page.get_by_label("Who is asked first")).to_be_hidden()
    page.get_by_role("button", name="Make it").click()
    page.get_by_text("names two experts or more").wait_for()
    page.get_by_label("The panel").fill("2")
    page.get_by_label("Pocket critic (a program)").fill("1")
    page.get_by_role("button", name="Make it").click()
    page.get_by_text("Two and one can be asked from now on.").wait_for()
    assert sorted(Expert.objects.get(alias="two-and-one").options["experts"]) == ["panel", "panel", "pocket"]
