"""The guard of the demo's processes: it keeps them running, and takes everything along when its holder ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
# A program that starts a job in a session of its own, as a training worker does.
WORKER = """
import subprocess, sys, time
job = subprocess.Popen([sys.executable, "-c", sys.argv[2]], start_new_session=True)
open(sys.argv[1], "a").write(f"{job.pid}\\n")
time.sleep(600)
"""
JOB = "import time; time.sleep(600)"


def guard(programs: dict[str, dict[str, object]]) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-m", "config.guard"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin
    process.stdin.write(json.dumps(programs) + "\n")
    process.stdin.flush()
    return process


def pids(path: Path, count: int) -> list[int]:
    assert eventually(lambda: path.exists() and path.read_text().count("\n") >= count)
    return [int(line) for line in path.read_text().split()]


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def eventually(holds: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


def worker(tmp_path: Path, job: str = JOB) -> dict[str, dict[str, object]]:
    return {"worker": {"command": [sys.executable, "-c", WORKER, str(tmp_path / "jobs"), job], "log": str(tmp_path / "log")}}


def test_jobs_in_sessions_of_their_own_end_with_the_guard(tmp_path: Path) -> None:
    process = guard(worker(tmp_path))
    (job,) = pids(tmp_path / "jobs", 1)
    assert process.stdin
    process.stdin.close()
    assert process.wait(30) == 0
    assert gone(job)


def test_everything_ends_when_the_holder_is_killed(tmp_path: Path) -> None:
    code = (
        "import json, subprocess, sys, time\n"
        "g = subprocess.Popen([sys.executable, '-m', 'config.guard'], stdin=subprocess.PIPE, text=True)\n"
        "g.stdin.write(sys.argv[1] + '\\n'); g.stdin.flush(); print(g.pid, flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, json.dumps(worker(tmp_path))], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert holder.stdout
    guard_pid = int(holder.stdout.readline())
    (job,) = pids(tmp_path / "jobs", 1)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert eventually(lambda: gone(guard_pid) and gone(job))


def test_a_program_that_is_killed_starts_again(tmp_path: Path) -> None:
    process = guard(worker(tmp_path))
    (job,) = pids(tmp_path / "jobs", 1)
    parent = psutil.Process(job).ppid()
    os.kill(parent, signal.SIGKILL)
    assert len(pids(tmp_path / "jobs", 2)) == 2
    assert process.stdin
    process.stdin.close()
    process.wait(30)
    assert all(gone(pid) for pid in pids(tmp_path / "jobs", 2))  # the orphan of the first worker too


def test_the_end_of_a_program_that_runs_once_is_the_guards(tmp_path: Path) -> None:
    leaves = WORKER.replace("time.sleep(600)", "")  # its job goes on
    process = guard({"run": {"command": [sys.executable, "-c", leaves, str(tmp_path / "jobs"), JOB], "log": str(tmp_path / "log"), "once": True}})
    assert process.wait(60) == 0
    (job,) = pids(tmp_path / "jobs", 1)
    assert gone(job)


def test_a_job_gets_time_to_save(tmp_path: Path) -> None:
    saving = f"""
import signal, time
def save(*_):
    open({str(tmp_path / "saved")!r}, "w").write("x")
    exit(0)
signal.signal(signal.SIGTERM, save)
open({str(tmp_path / "ready")!r}, "w")
time.sleep(600)
"""
    process = guard(worker(tmp_path, saving))
    assert eventually((tmp_path / "ready").exists)
    assert process.stdin
    process.stdin.close()
    process.wait(30)
    assert (tmp_path / "saved").read_text() == "x"


def test_a_program_that_never_stays_up_ends_the_guard_with_a_word(tmp_path: Path) -> None:
    process = guard({"web": {"command": [sys.executable, "-c", "exit(1)"], "log": str(tmp_path / "log")}})
    assert process.wait(60) == 1
    assert process.stdout
    assert process.stdout.read() == f"web keeps ending as soon as it is started; see {tmp_path / 'log'}.\n"
