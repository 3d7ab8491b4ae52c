"""The pages of suites: what they show of the rows, what their form takes and refuses."""

from __future__ import annotations

import csv
import json
from io import StringIO

import pytest
from django.conf import settings

from tests.web import scenery
from training.models import Experiment, Suite
from training.presets import PRESETS
from training.protocol import estimate
from training.suite.plan import planned


@pytest.fixture
def researcher(signed_in):
    return signed_in("rosalind")


def text_of(answer) -> str:
    return " ".join(answer.content.decode().split())


def filled_in(scene, **changes) -> dict:
    data = {"title": "My methods", "name": "", "domain": scene.domain.pk, "expert": scene.program.pk, "seeds": "1, 2"}
    data |= {"arms": ["pocket-ceiling", "pocket-full-trace", "pocket-retrain"], "bases": str(settings.POCKET_BASE)}
    return data | changes


def test_without_any_the_list_says_what_a_suite_is_for(researcher):
    assert "Compare methods side by side" in text_of(researcher.get("/suites/"))


def test_the_grid_shows_each_run_and_leads_to_it(scene, researcher):
    scenery.compared(scene)
    assert "4 of 6 experiments done, 1 running, 1 failed" in text_of(researcher.get("/suites/")).lower()
    page = text_of(researcher.get("/suites/methods/"))
    assert '<th scope="row">Weak proxy</th><td><a class="state done" href="/experiments/methods-weak-proxy-b1-s1/">done</a></td>' in page
    assert '<a class="state failed" href="/experiments/methods-weak-proxy-b1-s2/">failed</a>' in page
    assert "manage.py sandwich methods" in page


def test_results_are_measured_apart_from_the_page_and_agree_with_what_is_downloaded(scene, researcher):
    scenery.compared(scene)
    shown = text_of(researcher.get("/suites/methods/results/"))
    results = json.loads(researcher.get("/suites/methods/report.json").content)
    full = next(arm for arm in results["arms"] if arm["name"] == "full-trace")
    assert full["runs"] == 1
    assert full["pgr"]["value"] > 0.5
    assert f"{full['pgr']['value']:.0%}<br><small>[{full['pgr']['low']:.0%}, {full['pgr']['high']:.0%}]</small>" in shown
    lines = list(csv.DictReader(StringIO(researcher.get("/suites/methods/report.csv").content.decode())))
    assert float(lines[2]["pgr.value"]) == full["pgr"]["value"]
    markdown = researcher.get("/suites/methods/report.md")
    assert "| Full-trace distillation | 1 of 2 |" in markdown.content.decode()
    assert markdown["Content-Disposition"] == 'attachment; filename="methods.md"'
    assert "The figures as tables" in shown
    assert researcher.get("/suites/methods/report.exe").status_code == 404


@pytest.mark.parametrize(
    ("address", "mime"), [("rewards.svg", "image/svg+xml"), ("rewards.svg?ground=dark", "image/svg+xml"), ("gains.png", "image/png")]
)
def test_figures_are_files_that_can_do_nothing_else(address, mime, scene, researcher):
    scenery.compared(scene)
    answer = researcher.get(f"/suites/methods/figures/{address}")
    assert answer["Content-Type"] == mime
    assert answer["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert answer.content == researcher.get(f"/suites/methods/figures/{address}").content
    assert researcher.get("/suites/methods/figures/lost.svg").status_code == 404
    assert researcher.get("/suites/methods/figures/gains.gif").status_code == 404


def test_before_anything_is_done_there_are_no_figures(scene, researcher):
    suite = scenery.compared(scene)
    suite.experiments.update(state="running")
    assert "Nothing to compare yet" in text_of(researcher.get("/suites/methods/results/"))


def test_a_suite_is_made_from_ticked_presets_and_started(scene, researcher, settings):
    settings.TRAINING_SLOTS = 1
    answer = researcher.post("/suites/new/", filled_in(scene, start="yes"))
    assert answer["Location"] == "/suites/my-methods/"
    suite = Suite.objects.get()
    assert (suite.owner.username, suite.config["ceiling"], suite.config["seeds"], suite.running) == ("rosalind", "ceiling", [1, 2], True)
    assert [(arm["name"], arm["after"]) for arm in suite.config["arms"]] == [("ceiling", ""), ("full-trace", ""), ("retrain", "full-trace")]
    assert [(e.name, e.state) for e in Experiment.objects.all()] == [("my-methods-ceiling-b1-s1", "running")]
    page = text_of(researcher.get("/suites/my-methods/"))
    assert "waits for full-trace" in page
    researcher.post("/suites/my-methods/stop/")
    assert Experiment.objects.get().state == "paused"
    suite.refresh_from_db()
    assert not suite.running
    assert researcher.post("/suites/new/", filled_in(scene))["Location"] == "/suites/my-methods-2/", "a title may come twice"


def test_a_method_that_is_to_run_once_has_the_first_seed_on_the_first_base(scene, researcher):
    arms = ["pocket-ceiling", "pocket-full-trace", "pocket-retrain"]
    researcher.post("/suites/new/", filled_in(scene, arms=arms, once=[*arms[1:], "pocket-rubric"], draft="yes"))
    runs = {(one.arm.name, one.base.name, one.seed) for one in planned(Suite.objects.get())}
    assert runs == {("ceiling", "1", 1), ("ceiling", "1", 2), ("full-trace", "1", 1), ("retrain", "1", 1)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"title": ""}, "Give it a title"),
        ({"arms": []}, "Tick the ceiling"),
        ({"arms": ["pocket-full-trace"]}, "There is no arm ceiling"),
        ({"arms": ["pocket-ceiling", "pocket-retrain"]}, "with the proxy of full-trace"),
        ({"once": ["pocket-ceiling"]}, "The ceiling has to be run with every seed"),
        ({"once": ["pocket-full-trace"]}, "which is run once: run both alike"),
        ({"seeds": "one"}, "Seeds are whole numbers"),
        ({"seeds": "1, 1"}, "each once"),
        ({"bases": "/nowhere"}, "There is no folder /nowhere"),
        ({"name": "two words"}, "A name has 1 to 40"),
    ],
)
def test_what_makes_no_suite_is_said_beside_its_field(changes, words, scene, researcher):
    answer = researcher.post("/suites/new/", filled_in(scene, **changes))
    assert answer.status_code == 422
    assert words in text_of(answer)
    assert not Suite.objects.exists()


def test_the_form_says_what_all_of_it_would_ask(scene, researcher):
    said = text_of(researcher.post("/suites/new/estimate/", filled_in(scene, arms=["pocket-ceiling"])))
    assert "<b>2 experiments.</b>" in said
    assert f"{2 * sum(estimate(PRESETS['pocket-ceiling']).values()):,} verdicts" in said
    arms = ["pocket-ceiling", "pocket-weak-proxy"]
    assert "<b>3 experiments.</b>" in text_of(researcher.post("/suites/new/estimate/", filled_in(scene, arms=arms, once=arms[1:])))
    assert "Cannot be counted yet" in text_of(researcher.post("/suites/new/estimate/", filled_in(scene, seeds="x")))


def test_members_see_a_suite_that_was_shared_with_them_and_its_runs(scene, signed_in):
    suite = scenery.compared(scene)
    addresses = ["/suites/methods/", "/experiments/methods-ceiling-b1-s1/"]
    assert [signed_in("rahel").get(address).status_code for address in addresses] == [404, 404]
    suite.members.add(scene.people["rahel"])
    assert [signed_in("rahel").get(address).status_code for address in addresses] == [200, 200]
