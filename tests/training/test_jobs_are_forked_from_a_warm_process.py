"""Jobs as forks of a process that has the libraries loaded: to whoever follows them they are like processes of their own."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from training import processes
from training.warm import GONE, Fork, Warm

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def warm() -> Iterator[Warm]:
    warm = Warm("tests.training.environment", ROOT)
    yield warm
    warm.close()


@pytest.fixture
def start(warm: Warm, tmp_path: Path) -> Callable[..., Fork]:
    def begin(name: str = "job", **act: Any) -> Fork:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "act.json").write_text(json.dumps(act))
        return warm.start("act", str(folder), str(folder / "log.txt"), os.environ)

    return begin


def end_of(fork: Fork, seconds: float = 20) -> int:
    deadline = time.monotonic() + seconds
    while (code := fork.poll()) is None:
        assert time.monotonic() < deadline, "it runs on"
        time.sleep(0.02)
    return code


def until(true: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_runs_the_module_on_the_folder_in_a_session_of_its_own(start, tmp_path) -> None:
    fork = start()
    assert end_of(fork) == 0
    said = json.loads((tmp_path / "job" / "log.txt").read_text())
    assert said == {"arguments": [str(tmp_path / "job")], "leads": True, "pid": fork.pid}


def test_its_exit_code_is_told(start, tmp_path) -> None:
    assert end_of(start("75", exit=75)) == 75
    assert end_of(start("words", exit="no such thing")) == 1
    assert end_of(start("raises", **{"raise": "the disk is full"})) == 1
    assert "ValueError: the disk is full" in (tmp_path / "raises" / "log.txt").read_text()
    assert "no such thing" in (tmp_path / "words" / "log.txt").read_text()


def test_one_that_is_killed_says_by_what(start) -> None:
    fork = start(sleep=60)
    os.kill(fork.pid, signal.SIGKILL)
    assert end_of(fork) == -signal.SIGKILL


def test_many_start_at_once(start) -> None:
    forks: dict[int, Fork] = {}
    threads = [threading.Thread(target=lambda n=n: forks.update({n: start(str(n), exit=n)})) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {n: end_of(fork) for n, fork in forks.items()} == {n: n for n in range(12)}


def test_a_job_outlives_who_started_it(start, warm) -> None:
    fork = start(sleep=30)
    server = warm._process.pid
    warm.close()
    until(lambda: not processes.words(server))
    assert processes.words(fork.pid)
    os.kill(fork.pid, signal.SIGKILL)


def test_a_warm_process_that_died_is_replaced_and_its_jobs_go_on(start, warm) -> None:
    fork = start("first", sleep=1.5)
    os.kill(warm._process.pid, signal.SIGKILL)
    until(lambda: not warm._alive())
    assert fork.poll() is None
    assert end_of(start("second", exit=3)) == 3
    assert end_of(fork) == GONE, "how it ended, nobody saw: its result file says what came of it"


def test_what_cannot_be_imported_the_log_says(tmp_path) -> None:
    nowhere = Warm("tests.training.nowhere", ROOT)
    assert end_of(nowhere.start("act", str(tmp_path), str(tmp_path / "log.txt"), os.environ)) == 1
    assert "No module named" in (tmp_path / "log.txt").read_text()
    nowhere.close()
