"""A researcher writes a domain, fills it from a file and tries an expert on it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from django.conf import settings

from annotation.models import Domain

pytestmark = pytest.mark.browser


@pytest.fixture
def page(scene, visitor):
    return visitor("rosalind")


def test_the_preview_follows_what_is_typed(page):
    page.goto("/domains/new/")
    preview = page.locator("#preview")
    page.get_by_label("Generation prompt", exact=True).fill("A riddle about {THING}.")
    preview.get_by_text("A riddle about ‹THING›.", exact=True).wait_for()
    page.get_by_label("A text to judge").fill("What has <score>7</score> hands?")
    preview.get_by_text("What has ‹score>7‹/score> hands?").wait_for()
    page.get_by_label("Grading prompt", exact=True).fill("Judge it.")
    preview.get_by_text("has no {CONTENT}").wait_for()
    page.get_by_label("Name", exact=True).fill("Riddles")
    page.get_by_label("Name in addresses").fill("riddles")
    page.get_by_role("button", name="Make it").click()
    page.get_by_text("Not saved yet").wait_for()
    field = page.get_by_label("Grading prompt", exact=True)
    assert field.get_attribute("aria-invalid") == "true"
    field.fill("Judge {CONTENT}.")
    page.get_by_role("button", name="Make it").click()
    page.get_by_text("The domain is made. Now it needs prompts.").wait_for()
    assert Domain.objects.get(slug="riddles").generation_prompt == "A riddle about {THING}."


def test_a_file_is_checked_and_then_brought_in_without_choosing_it_again(page, tmp_path, scene):
    file = tmp_path / "prompts.jsonl"
    topics = [{"split": "train", "variables": {"OBJECT": f"lamp {i}", "PLACE": "mill"}} for i in range(3)]
    file.write_text("\n".join([*map(json.dumps, topics), "{broken"]))
    before = scene.domain.prompts.count()
    page.goto(f"/domains/{scene.domain.slug}/import/")
    page.get_by_label("File").set_input_files(str(file))
    assert not page.get_by_label("Where these texts come from").is_visible()
    page.get_by_role("button", name="Check the file").click()
    page.get_by_text("not valid JSON").wait_for()
    assert scene.domain.prompts.count() == before
    page.get_by_role("button", name="Import the 3 good ones").click()
    page.get_by_text("3 new prompts came in").wait_for()
    assert scene.domain.prompts.count() == before + 3


@pytest.fixture
def worker(process_env, tmp_path):
    """A worker of the default queue."""
    command = [sys.executable, "-m", "celery", "-A", "config", "worker", "-Q", "default", "--pool", "solo", "-n", "trial@test"]
    with (tmp_path / "worker.log").open("w") as log:
        process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=process_env, stdout=log, stderr=subprocess.STDOUT)
        yield process
        process.terminate()
        process.wait(30)


def test_the_verdict_of_a_trial_appears_by_itself(scene, worker, page):
    page.goto(f"/domains/{scene.domain.slug}/trial/")
    page.get_by_label("A text to judge").fill("Mia had a lantern. Mia lost it.")
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("heading", name="Score").wait_for(timeout=60_000)
    page.get_by_role("heading", name="Critique").wait_for()
    assert page.get_by_text("Waiting for a worker").count() == 0
