"""`manage.py doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from annotation.actions import set_budget
from annotation.models import Budget
from config import doctor
from config.doctor import BROKEN, FINE, WARNING, Finding
from config.env import Problem

pytestmark = pytest.mark.slow


def by_name(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


@pytest.mark.django_db
def test_services_and_tables_are_found_fine() -> None:
    found = by_name(doctor.database()) | by_name(doctor.queue())
    assert [found[name].state for name in ("PostgreSQL", "Tables", "Redis")] == [FINE] * 3
    assert found["PostgreSQL"].seen.startswith("18.")
    assert found["Redis"].seen.startswith("Valkey 9.")


@pytest.mark.django_db
def test_a_budget_that_is_not_the_sum_of_its_charges_is_broken() -> None:
    budget = set_budget(unit="samples", limit=5)
    assert [(finding.what, finding.state, finding.seen[:10]) for finding in doctor.ledger()] == [("Budgets", FINE, "1 in force")]
    Budget.objects.filter(pk=budget.pk).update(spent=3)
    (finding,) = doctor.ledger()
    assert finding.state == BROKEN
    assert "5 verdicts of everything" in finding.seen
    assert "set them anew" in finding.mend


@pytest.mark.django_db
def test_a_queue_that_nobody_serves_is_a_warning_that_names_the_command() -> None:
    said = [finding for finding in doctor.workers() if finding.state == WARNING]
    assert [finding.seen for finding in said] == ["nobody serves the queue default", "nobody serves the queue training"]
    assert all("celery -A config worker -Q" in finding.mend for finding in said)


def test_a_redis_that_does_not_answer_is_broken(settings) -> None:
    settings.REDIS_URL, settings.REDIS_IS_EMBEDDED = "redis://127.0.0.1:1/0", False
    (finding,) = doctor.queue()
    assert (finding.state, finding.what) == (BROKEN, "Redis")
    assert "REDIS_URL" in finding.mend


def test_packages_are_compared_with_the_lock(settings, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "base.txt").write_text("Django==5.2.19\nno-such-package==1.0\n")
    (tmp_path / "requirements" / "training.txt").write_text("# nothing\n")
    (tmp_path / "requirements" / "constraints.txt").write_text("Django==0.1\nno-such-package==1.0\n")
    broken, warning = doctor.packages()
    assert (broken.state, broken.seen) == (BROKEN, "missing: no-such-package")
    assert warning.state == WARNING
    assert "(tested: 0.1)" in warning.seen


def test_this_environment_is_as_locked() -> None:
    assert [finding.state for finding in doctor.packages()] == [FINE]


def test_a_jobs_folder_that_cannot_be_made_is_broken(settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.JOBS_DIR = tmp_path / "file" / "jobs"
    (finding,) = doctor.disk()
    assert finding.state == BROKEN
    assert "TOUCHSTONE_JOBS" in finding.mend


def test_a_full_disk_is_broken_and_a_small_one_a_warning(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"bytes": 0.5 * doctor.GIB}
    monkeypatch.setattr("config.doctor.shutil.disk_usage", lambda path: type("Usage", (), {"free": free["bytes"]}))
    assert next(doctor.disk()).state == BROKEN
    free["bytes"] = 5 * doctor.GIB
    assert next(doctor.disk()).state == WARNING


def test_a_value_that_cannot_be_read_is_broken_with_its_mend(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.ENVIRONMENT, "problems", [Problem("TOUCHSTONE_DEBUG", "is 'x'", "Use yes or no.")])
    assert list(doctor.environment()) == [Finding("Environment", BROKEN, "TOUCHSTONE_DEBUG is 'x'", "Use yes or no.")]


def test_torch_is_asked_in_a_process_of_its_own() -> None:
    (finding,) = doctor.accelerator()
    assert finding.what == "torch"
    assert finding.state != BROKEN
    assert finding.seen.startswith("2.13.0")


@pytest.mark.django_db
def test_the_command_prints_json_and_fails_only_where_something_essential_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.management.commands.doctor.LOOKS", [lambda: iter([Finding("A", WARNING, "less", "more")])])
    out = StringIO()
    call_command("doctor", "--json", stdout=out)
    assert json.loads(out.getvalue()) == [{"what": "A", "state": "warning", "seen": "less", "mend": "more"}]
    monkeypatch.setattr("config.management.commands.doctor.LOOKS", [lambda: iter([Finding("B", BROKEN, "gone", "bring it back")])])
    out = StringIO()
    with pytest.raises(CommandError, match="Broken: B"):
        call_command("doctor", stdout=out)
    assert "bring it back" in out.getvalue()
