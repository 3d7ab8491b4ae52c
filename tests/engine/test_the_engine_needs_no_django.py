"""Every kind of job runs in a process that cannot import Django."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.engine.conftest import NO_DJANGO, environment, result, run_job


def test_the_processes_of_these_tests_have_no_django(tmp_path):
    (tmp_path / "probe.py").write_text("import django")
    process = subprocess.run(
        [sys.executable, "-c", NO_DJANGO, "probe"], env={**environment(), "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert "No module named 'django'" in process.stderr


@pytest.mark.training
@pytest.mark.parametrize("kind", ["sample", "grade", "distil", "scalar", "optimise", "rewrite"])
def test_a_job_is_done_without_django(make_job, kind):
    folder = make_job(kind, kind)
    process = run_job(folder)
    assert process.returncode == 0, process.stderr
    assert result(folder)["status"] == "done"


@pytest.mark.training
def test_an_rl_job_is_done_without_django(unbroken):
    assert result(unbroken)["status"] == "done"


def test_grading_by_a_program_needs_no_torch(make_job):
    folder = make_job("light", "grade")
    probe = f"import sys; sys.argv = ['grade', {str(folder)!r}]; import training.engine.grade as g; from training.engine.job import main\n"
    probe += "main('grade', g.FIELDS, g.OPTIONAL, g.run); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", probe], env=environment(), check=True)
