"""The whole loop with a person in it: a researcher starts an experiment, an expert reviews in the browser, and the proxy learns those very words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from annotation.models import Batch
from training.models import Experiment, ProxyVersion

pytestmark = [pytest.mark.browser, pytest.mark.training, pytest.mark.slow]

PLAN = {
    "RL steps": 4,
    "Steps between looks": 2,
    "First samples": 4,
    "Later samples": 0,
    "Pool": 8,
    "Rollouts of each prompt": 2,
    "Eval prompts": 0,
    "Traces per rollout": 1,
    "Tokens of a trace": 48,
    "Traces for choosing": 2,
    "Unscored share": 1,
    "Prompts a step": 2,
    "Group": 2,
    "Tokens of a text": 40,
    "Steps between checkpoints": 2,
    "Passes at first": 2,
}
CRITIQUES = [
    "The lantern is named once and then forgotten.",
    "A fox steals the key, and nobody asks why: that is the better story.",
    "“Little did she know” is a phrase, not a sentence. Order holds.",
    "Ends where it began, which suits it. ¿Más? Sí – warm & plain <b>words</b>.",
]
SCORES = ["34", "52", "47.5", "81"]


@pytest.fixture
def workers(process_env: dict[str, str], tmp_path: Path) -> Iterator[Path]:
    """Celery workers for both queues on the test's database, with the sweep's clock; the path of their log."""
    path = tmp_path / "workers.log"
    env = process_env | {"OMP_NUM_THREADS": "1"}
    with path.open("w") as log:
        celery = [sys.executable, "-m", "celery", "-A", "config", "worker", "--loglevel", "info", "--pool", "threads"]
        commands = [
            [*celery, "-Q", "default", "-c", "2", "-n", "a@test", "-B", "-s", str(tmp_path / "beat")],
            [*celery, "-Q", "training", "-c", "1", "-n", "b@test"],
        ]
        started = [subprocess.Popen(c, cwd=settings.BASE_DIR, env=env, stdout=log, stderr=log, start_new_session=True) for c in commands]
        yield path
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for_state(page, words: str, seconds: int, workers: Path) -> None:
    """Until the open page, without a reload, says `words` where it tells what the experiment does."""
    end = time.monotonic() + seconds
    now = page.locator("#now")
    while words not in now.inner_text():
        if "Failed" in now.inner_text() or time.monotonic() > end:
            pytest.fail(f"no {words!r} but: {now.inner_text()}\n\n{page.locator('#jobs').inner_text()}\n\n{workers.read_text()[-3000:]}")
        page.wait_for_timeout(300)


def start_experiment(page) -> None:
    page.get_by_role("link", name="New experiment").first.click()
    page.get_by_label("Title").fill("Taught by a person")
    page.get_by_label("Expert", exact=True).select_option(label="The panel · people")
    page.get_by_label("Ask the expert about texts chosen").select_option("max-variance")
    page.get_by_text("Advanced", exact=True).click()
    for label, number in PLAN.items():
        page.get_by_label(label, exact=True).fill(str(number))
    page.get_by_text("It will ask the expert for 4 verdicts").wait_for()
    page.get_by_role("button", name="Make it and start").click()
    page.wait_for_url("**/experiments/taught-by-a-person/")


def review_all(page) -> list[tuple[str, str]]:
    """Write the four verdicts, by keyboard from the second on. The (text, critique) pairs in the order of writing."""
    written = []
    page.goto("/review/")
    page.get_by_role("button", name="Start reviewing").click()
    for critique, score in zip(CRITIQUES, SCORES, strict=True):
        page.get_by_text("Yours for").wait_for()
        address = page.url
        written.append((page.locator("#text").inner_text(), critique))
        page.get_by_label("Critique").fill(critique)
        page.get_by_label("Score", exact=True).fill(score)
        page.keyboard.press("Control+Enter")
        page.wait_for_url(lambda url, before=address: url != before)
    page.get_by_text("The batch is finished").wait_for()
    return written


def test_the_proxy_learns_the_very_words_that_a_person_typed(scene, visitor, workers):
    researcher = visitor("rosalind")
    start_experiment(researcher)
    wait_for_state(researcher, "Waiting for experts", 120, workers)
    batch = Batch.objects.get(experiment="taught-by-a-person")
    assert (batch.strategy, batch.items.count()) == ("max-variance", 4)

    written = review_all(visitor("edith"))

    wait_for_state(researcher, "Done", 180, workers)
    experiment = Experiment.objects.get(name="taught-by-a-person")
    version = ProxyVersion.objects.get(experiment=experiment, number=2)
    learnt = {
        row.item.rollout.content: (row.critique, row.score, row.author.username) for row in version.feedback.select_related("item__rollout", "author")
    }
    assert sorted(learnt.values()) == sorted((c, float(s), "edith") for c, s in zip(CRITIQUES, SCORES, strict=True))
    assert {(" ".join(text.split()), critique) for text, critique in written} == {(" ".join(text.split()), row[0]) for text, row in learnt.items()}

    examples = [json.loads(line) for line in (version.job.path / "examples.jsonl").read_text().splitlines()]
    assert all(any(critique in example["completion"] for example in examples) for critique in CRITIQUES)

    # RL went on with that proxy, to the last step, in two segments: all of it is on the page.
    assert [(job.key, job.state) for job in experiment.jobs.filter(kind="rl")] == [("train-0", "done"), ("train-2", "done")]
    assert experiment.step_metrics.count() == 4
    assert "v2" in researcher.locator("#proxies").inner_text()
    researcher.get_by_role("link", name="v2").first.click()
    researcher.get_by_text("Learnt from 4 verdicts").wait_for()
    for critique in CRITIQUES:
        researcher.get_by_text(critique).wait_for()
