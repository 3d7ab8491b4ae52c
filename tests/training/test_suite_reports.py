"""What is reported of a suite: numbers from the rows, the same in every form, and figures of them."""

from __future__ import annotations

import csv
import json
from io import StringIO
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotation.models import Feedback
from grading import alignment
from tests.training import toy
from tests.training.conftest import LESSONS, SMALL
from tests.training.reports import suite_report
from training import actions, drive
from training.history import History, Seen
from training.measures import Look
from training.models import Experiment
from training.suite import actions as suites
from training.suite import figures, files, plan, tables
from training.suite.plan import Arm, Base
from training.suite.report import _recovered, cached, report
from training.suite.runs import Run, stands_for

NOTHING = Look([], [], [], [], [])


def seen(step: int) -> Seen:
    return Seen(step, "eval", NOTHING, None, None, None, 2, 0, None)


@pytest.mark.parametrize(
    ("best_step", "step"),
    [(50, 50), (25, 25), (40, 25), (None, 50)],
)
def test_a_run_is_judged_by_the_checkpoint_it_stands_for(best_step, step) -> None:
    history = SimpleNamespace(experiment=SimpleNamespace(best_step=best_step), judged=[seen(0), seen(25), seen(50)])
    assert history.judged[stands_for(history)].step == step


def run(base: str, seed: int, looks: list[tuple[float, int]], samples: dict[str, int]) -> Run:
    """A run whose looks have these mean rewards after so many samples; 8 prompts x 2 rollouts, so that the gap is clear."""

    def look(step: int, mean: float, used: int) -> Seen:
        prompts = [prompt for prompt in range(8) for _ in range(2)]
        return Seen(step, "eval", Look(prompts, [mean - 1, mean + 1] * 8, [None] * 16, [], []), None, None, None, 0, used, None)

    seen = [look(10 * i, mean, used) for i, (mean, used) in enumerate(looks)]
    return Run(seed, f"b{base}-s{seed}", base, seed, 20, samples, seen, len(seen) - 1, (0, 0), 1.0)


def test_pgr_and_both_ratios_are_over_runs_paired_by_base_and_seed() -> None:
    tops = [run(base, seed, [(40, 0), (60, 100), (80 + seed, 200)], {"reward": 200}) for base, seed in (("1", 1), ("1", 2), ("2", 1))]
    mine = [run(base, seed, [(40, 0), (70, 0)], {"initial": 30, "update": 20, "eval": 99}) for base, seed in (("1", 1), ("2", 1), ("2", 2))]
    found = _recovered(mine, tops)
    # Seed 2 has no ceiling on base 2 yet: (70 - 40) / (81 - 40); the ceilings were at 70 after 100 + 100 x 10 / 21
    assert found["pgr"]["value"] == pytest.approx(30 / 41)
    assert found["efficiency"]["ratio"]["value"] == pytest.approx(200 / 50)
    assert found["efficiency"]["matched"]["value"] == pytest.approx((100 + 1000 / 21) / 50)
    alone = _recovered(mine[:1], tops[:2])
    assert alone["pgr"]["value"] == pytest.approx(30 / 41.5), "on one base all its ceilings count"
    assert _recovered(mine[2:], tops[2:])["pgr"]["value"] == pytest.approx(30 / 41)
    assert _recovered(mine, []) == {"pgr": None, "efficiency": None}


@pytest.fixture
def suite(rosa, domain, critic, model, tmp_path):
    """A ceiling and two other arms on two bases, all of it done except the last run."""
    toy.save_model(tmp_path / "other", skill=1)
    short = SMALL | {"steps": 2, "segment": 1}
    arms = [
        Arm("ceiling", "Ceiling", "", {"protocol": "ceiling", **short, "segment": 2}),
        Arm("full", "Full-trace distillation", "", {"protocol": "full-trace", **short, **LESSONS}),
        Arm("weak", "Weak proxy", "", {"protocol": "weak-proxy", **short, "segment": 2}, main=False),
    ]
    bases = [Base("1", model), Base("2", str(tmp_path / "other"))]
    made = suites.create_suite(name="toys", owner=rosa, domain=domain, expert=critic, arms=arms, seeds=[1], bases=bases)
    for one in plan.planned(made, ["ceiling", "full"]):
        drive.drive(actions.start(suites.experiment_of(made, one)).pk)
    made.refresh_from_db()
    return made


@pytest.mark.slow
@pytest.mark.django_db
def test_the_numbers_of_a_suite_are_those_of_its_rows(suite, rosa) -> None:
    results = report(suite)
    ceiling, full, weak = results["arms"]
    runs = [Experiment.objects.get(name=f"toys-full-b{base}-s1") for base in "12"]

    def mean(experiments: list[Experiment], step: int) -> float:
        verdicts = Feedback.objects.filter(item__batch__purpose="eval", score__isnull=False)
        return fmean(fmean(verdicts.filter(item__batch__key=f"{e.name}/ask-eval-{step}").values_list("score", flat=True)) for e in experiments)

    assert (full["runs"], full["planned"], weak["runs"], weak["measured"]) == (2, 2, 0, False)
    assert full["expert_reward"]["final"]["value"] == pytest.approx(mean(runs, 2))
    assert full["expert_reward"]["base"]["value"] == pytest.approx(mean(runs, 0))
    assert (ceiling["pgr"], ceiling["efficiency"]) == (None, None)
    assert full["samples"]["by_purpose"] == {"eval": 18, "initial": 8, "update": 4}
    assert [full["samples"][name] for name in ("taught", "checked", "rewarded", "total")] == [12, 0, 0, 12]
    assert ceiling["samples"]["rewarded"] == 8  # 2 steps of 2 x 2
    assert full["efficiency"]["ratio"]["value"] == pytest.approx(8 / 12)
    assert [at["step"] for at in full["curve"]] == [0, 1, 2]
    assert [at["realigned"] for at in full["curve"]] == [2, 2, 0]
    first = History.of(runs[0]).judged[0]
    promised = alignment.predicted_gain(first.before.expert, first.after.proxy, first.after.prompts, scale=True)
    assert full["gains"][0]["predicted"] == pytest.approx(promised.value)
    assert full["gains"][0]["actual"] == pytest.approx(mean(runs[:1], 1) - mean(runs[:1], 0))
    assert results["not_done"] == [{"name": "toys-weak-b1-s1", "arm": "weak", "state": "", "note": ""}]
    assert cached(suite) == results
    drive.drive(actions.start(suites.experiment_of(suite, plan.planned(suite)[-1])).pk)
    assert cached(suite)["arms"][2]["runs"] == 1, "what was cached is not shown once there is more"
    out = StringIO()
    call_command("report", "--suite", "toys", "--json", stdout=out)
    assert json.loads(out.getvalue()) == json.loads(json.dumps(cached(suite)))


def test_every_form_says_the_same() -> None:
    results = suite_report()
    assert json.loads(files.as_json(results)) == results
    lines = list(csv.DictReader(StringIO(tables.as_csv(results))))
    text, markdown = tables.text(results), tables.markdown(results)
    assert len(lines) == len(results["arms"])
    for arm, line, row in zip(results["arms"], lines, tables.rows(results), strict=True):
        assert line["title"] == arm["title"]
        assert f"| {' | '.join(row)} |" in markdown
        assert all(cell in text for cell in row)
        if arm["measured"]:
            assert float(line["samples.total"]) == arm["samples"]["total"]
            assert float(line["expert_reward.final.value"]) == arm["expert_reward"]["final"]["value"]
            assert line["pgr.value"] == ("" if arm["pgr"] is None else str(arm["pgr"]["value"]))
    assert "92% [86%, 98%]" in text
    assert "> 4.7x" in text, "the ceiling never had the reward of full-trace distillation"
    assert "manage.py run_experiment pocket-rubric-b1-s1" in markdown
    assert "pocket-retrain-b1-s1: failed. The disk is full." in text


@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_figure_is_the_same_each_time_and_names_what_it_shows(name) -> None:
    results = suite_report()
    drawn = figures.draw(name, results)
    assert drawn == figures.draw(name, results)
    assert drawn != figures.draw(name, results, dark=True)
    written = drawn.decode()
    shown = [arm["title"] for arm in results["arms"][1:] if arm["measured"]]
    assert all(f"<!-- {title} -->" in written for title in shown)
    assert "<!-- From scratch with the last proxy -->" not in written, "it has no run yet"


def test_figures_are_drawn_of_nothing_too() -> None:
    results = suite_report(unfinished=14)
    assert all(figures.draw(name, results).startswith(b"<?xml") for name in figures.FIGURES)


def test_all_of_it_is_written_to_a_folder(tmp_path) -> None:
    written = files.write(suite_report(), tmp_path / "new" / "folder")
    assert [path.name for path in written] == [
        "report.json",
        "report.csv",
        "report.md",
        *(f"{name}.{kind}" for name in figures.FIGURES for kind in ("svg", "png")),
    ]
    assert all(path.stat().st_size for path in written)
    assert (tmp_path / "new" / "folder" / "pgr-samples.png").read_bytes().startswith(b"\x89PNG")
    assert "![PGR against expert samples](pgr-samples.svg)" in (tmp_path / "new" / "folder" / "report.md").read_text()


def say(*args: Any) -> str:
    out = StringIO()
    call_command(*args, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["report"], "Name experiments, or one suite"),
        (["report", "--suite", "lost"], "There is no suite lost. There are: none yet."),
        (["sandwich", "lost", "--report-only"], "There is no suite lost."),
        (["sandwich", "--jobs", "0"], "at least 1 experiment"),
    ],
)
def test_what_is_wrong_with_a_command_is_said(args, words) -> None:
    with pytest.raises(CommandError, match=words):
        say(*args)
