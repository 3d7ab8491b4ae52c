"""Two processes never work in one job folder."""

from __future__ import annotations

import fcntl

from tests.engine.conftest import run_here


def test_a_second_process_is_refused_with_status_75_and_changes_nothing(make_job, monkeypatch, capsys):
    folder = make_job("busy", "grade")
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = sorted(path.name for path in folder.iterdir())
        assert run_here(folder, monkeypatch) == 75
        assert sorted(path.name for path in folder.iterdir()) == before
    assert "another process works on" in capsys.readouterr().err
    assert run_here(folder, monkeypatch) == 0
