"""The researcher's pages in a real browser: live, and right without a socket."""

from __future__ import annotations

import pytest

from tests.web import scenery
from training.models import Experiment, Job

pytestmark = pytest.mark.browser


def progress(done: int) -> None:
    Job.objects.filter(key="train-60").update(progress={"done": done, "total": 30})


def test_what_one_person_does_another_sees_at_once(scene, visitor):
    found, _ = scenery.waiting(scene)
    found.members.add(scene.people["rahel"])
    watcher, actor = visitor("rahel"), visitor("rosalind")
    for page in (watcher, actor):
        page.goto(f"/experiments/{found.name}/")
        page.locator("body[data-socket=open]").wait_for()
    actor.get_by_role("button", name="Pause").click()
    actor.get_by_role("button", name="Resume").wait_for()
    watcher.get_by_role("button", name="Resume").wait_for(timeout=8_000)
    assert "Paused by rosalind" in watcher.locator("#history").inner_text()


def test_a_page_without_a_socket_looks_by_itself(scene, visitor):
    scenery.running(scene)
    page = visitor("rosalind")
    page.route_web_socket("**/ws/**", lambda socket: socket.close())
    page.goto("/experiments/stories/")
    page.get_by_text("12 of 30 RL steps").first.wait_for()
    progress(17)
    page.get_by_text("RL on the policy: 17 of 30 RL steps").wait_for(timeout=20_000)


def test_a_refresh_keeps_what_the_reader_has_opened(scene, visitor):
    scenery.running(scene)
    page = visitor("rosalind")
    page.goto("/experiments/stories/")
    page.get_by_text("earlier", exact=False).click()
    page.get_by_role("button", name="Pause").focus()
    progress(21)
    page.evaluate("htmx.trigger(document.querySelector('[data-live]'), 'refresh')")
    page.get_by_text("RL on the policy: 21 of 30 RL steps").wait_for()
    assert page.locator("#older-jobs").get_attribute("open") is not None
    page.locator("#pause:focus").wait_for()


def test_the_chart_is_drawn_and_tells_the_figures_under_the_pointer(scene, visitor):
    scenery.running(scene)
    page = visitor("rosalind")
    page.goto("/experiments/stories/")
    page.locator("#chart canvas").wait_for()
    area = page.locator("#chart .u-over").bounding_box()
    page.mouse.move(area["x"] + area["width"] / 3, area["y"] + area["height"] / 2)  # a third of 90 steps
    page.get_by_text("step 30 · expert 66.0 (63.2 to 68.8)").wait_for()


def test_a_check_and_a_roll_back_are_drawn(scene, visitor):
    scenery.prompted(scene)
    page = visitor("rosalind")
    page.goto("/experiments/rubric/")
    page.locator("#chart canvas").wait_for()
    area = page.locator("#chart .u-over").bounding_box()
    page.mouse.move(area["x"] + area["width"] * 2 / 3, area["y"] + area["height"] / 2)  # 80 of 120 steps
    page.get_by_text("expert 55.0 (52.1 to 57.9) · at the check 54.1").wait_for()


def test_a_prompt_that_is_being_written_outlives_paging_and_errors_and_its_preview_follows(scene, visitor):
    scenery.to_be_written(scene)
    page = visitor("rosalind")
    page.goto("/experiments/by-prompt/")
    page.get_by_role("link", name="Write the grading prompt").click()
    field = page.get_by_label("The grading prompt", exact=True)
    field.fill("Is this any good? {CONTENT}")
    page.get_by_text("The written prompt lacks {INSTRUCTIONS}.").wait_for()
    page.get_by_label("The grading prompt, filled in").get_by_text("Is this any good?").wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("Page 2 of 2").wait_for()
    assert field.input_value() == "Is this any good? {CONTENT}"
    page.get_by_role("button", name="Use this prompt").click()
    page.get_by_text("Not sent yet.").wait_for()
    page.get_by_text("Page 2 of 2").wait_for()
    assert field.input_value() == "Is this any good? {CONTENT}"
    field.fill("Is this any good?\nTask: {INSTRUCTIONS}\nText: {CONTENT}")
    page.get_by_role("button", name="Use this prompt").click()
    page.get_by_text("Thank you.").wait_for()
    assert Experiment.objects.get(name="by-prompt").stages.get(key="search-0").arguments["written"] == [
        "Is this any good?\nTask: {INSTRUCTIONS}\nText: {CONTENT}"
    ]


def test_a_link_in_the_table_of_prompts_opens_the_prompt(scene, visitor):
    scenery.prompted(scene)
    page = visitor("rosalind")
    page.goto("/experiments/rubric/candidates/search-0/")
    page.get_by_role("link", name="Prompt 3").click()
    page.get_by_text("Rubric 3.").wait_for()


def test_the_estimate_follows_the_typing_and_another_protocol_keeps_the_title(scene, visitor):
    page = visitor("rosalind")
    page.goto("/experiments/new/")
    page.get_by_label("Title").fill("Kept")
    page.get_by_label("First samples").fill("100")
    # 4 looks x 60 x 8 = 1,920 to measure, 100 first, 2 x 128 again
    page.get_by_text("It will ask the expert for 2,276 verdicts").wait_for()
    page.get_by_text("To compare with").click()
    page.get_by_role("link", name="Ceiling").click()
    page.get_by_text("as reward.").wait_for()
    assert page.get_by_label("Title").input_value() == "Kept"
    page.get_by_role("button", name="Make it, start later").click()
    page.get_by_role("button", name="Start", exact=True).wait_for()
    assert Experiment.objects.get().plan.protocol == "ceiling"


def test_an_error_in_the_advanced_part_is_seen(scene, visitor):
    page = visitor("rosalind")
    page.goto("/experiments/new/")
    page.get_by_label("Title").fill("Wrong")
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("Group").fill("1")
    page.get_by_role("button", name="Make it, start later").click()
    assert page.get_by_text("A group needs at least 2 rollouts").is_visible()
    assert page.get_by_label("Title").input_value() == "Wrong"


def test_stopping_takes_two_steps(scene, visitor):
    scenery.waiting(scene)
    page = visitor("rosalind")
    page.goto("/experiments/by-hand/")
    page.get_by_role("link", name="Stop…").click()
    page.get_by_label("Why?").fill("Wrong seed")
    page.get_by_role("button", name="Stop for good").click()
    page.get_by_text("Stopped: Wrong seed").first.wait_for()
