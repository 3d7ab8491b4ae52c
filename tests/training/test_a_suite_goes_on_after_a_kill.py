"""kill -9 of the command that runs a suite: what it had started ends, and the same command goes on where it stood."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings as django_settings

from tests.training.conftest import LESSONS, SMALL
from training import actions, drive
from training.models import Experiment, StepMetric, Suite
from training.suite import actions as suites
from training.suite import plan
from training.suite.plan import Arm, Base

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
CEILING = Arm("ceiling", "Ceiling", "", {"protocol": "ceiling", **SMALL})
FULL = Arm("full", "Full-trace distillation", "", {"protocol": "full-trace", **SMALL, **LESSONS})
AGAIN = Arm("again", "From scratch", "", {"protocol": "retrain", **SMALL}, main=False, after="full")


def command(env: dict[str, str], out: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "manage.py", "sandwich", "toys", "--jobs", "2", "--out", str(out)]
    return subprocess.Popen(words, cwd=django_settings.BASE_DIR, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def at_work() -> list[psutil.Process]:
    """Processes of the suite: those that carry experiments, and their jobs."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = " ".join(process.info["cmdline"] or ())
        if process.info["status"] != psutil.STATUS_ZOMBIE and ("run_experiment toys-" in words or "/toys-" in words):
            found.append(process)
    return found


def numbers(arm: dict[str, Any]) -> dict[str, Any]:
    """All that must not depend on what was killed, nor on the suite's name."""
    points = [{key: value for key, value in point.items() if key not in ("experiment", "minutes")} for point in arm["points"]]
    gains = [{key: value for key, value in gain.items() if key != "experiment"} for gain in arm["gains"]]
    return {key: value for key, value in arm.items() if key not in ("minutes", "commands")} | {"points": points, "gains": gains}


def test_a_killed_suite_takes_its_processes_along_and_goes_on(process_env, rosa, domain, critic, model, tmp_path) -> None:
    def make(name: str) -> Suite:
        arms = [CEILING, FULL, AGAIN]
        return suites.create_suite(name=name, owner=rosa, domain=domain, expert=critic, arms=arms, seeds=[1], bases=[Base("1", model)])

    calm, suite = make("calm"), make("toys")
    for one in plan.planned(calm):
        drive.drive(actions.start(suites.experiment_of(calm, one)).pk)
    env = process_env | {"TOUCHSTONE_ENGINE": "tests.training.toy", "TOY_SECONDS": "0.3", "TOUCHSTONE_HOME": str(django_settings.HOME)}
    process = command(env, tmp_path / "out")
    deadline = time.monotonic() + 120
    while not StepMetric.objects.filter(experiment__suite=suite).exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert at_work()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    while at_work():
        assert time.monotonic() < deadline, at_work()
        time.sleep(0.1)
    assert Experiment.objects.filter(suite=suite, state="done").count() < 3
    process = command(env | {"TOY_SECONDS": "0"}, tmp_path / "out")
    told, _ = process.communicate(timeout=200)
    assert process.returncode == 0, told
    assert "Going on after" in told
    assert "Full-trace distillation  1 of 1" in told
    results = json.loads((tmp_path / "out" / "report.json").read_text())
    from training.suite.report import report

    assert [numbers(arm) for arm in results["arms"]] == [numbers(arm) for arm in json.loads(json.dumps(report(calm)))["arms"]]
    assert not results["not_done"]
    assert [arm["samples"]["taught"] for arm in results["arms"]] == [0, 12, 12], "a proxy that is taken over has had its lessons"
