"""`make clean`: what is ours goes, what is not stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from config import embedded

ROOT = Path(__file__).parent.parent.parent


def clean(home: Path, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    # -S: without the packages of the environment, as after a broken installation
    command = [sys.executable, "-S", "-m", "config.clean", *arguments]
    return subprocess.run(command, input=said, capture_output=True, text=True, cwd=ROOT, env={"TOUCHSTONE_HOME": str(home)})


@pytest.mark.slow
def test_it_stops_the_services_and_deletes_what_is_ours(home: Path) -> None:
    embedded.start(home)
    (home / "jobs" / "x").mkdir(parents=True)
    (home / "notes.txt").write_text("somebody's own")
    done = clean(home, "--force")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in home.iterdir()] == ["notes.txt"]


def test_it_asks_first_and_deletes_nothing_without_a_yes(home: Path) -> None:
    (home / "jobs").mkdir(parents=True)
    for answer in ("", "n\n", "perhaps\n"):
        done = clean(home, said=answer)
        assert done.returncode == 1
        assert "Nothing was deleted." in done.stdout
    assert (home / "jobs").exists()
    assert clean(home, said="y\n").returncode == 0
    assert not home.exists()


def test_there_may_be_nothing_to_delete(home: Path) -> None:
    done = clean(home)
    assert done.returncode == 0
    assert "Nothing to delete" in done.stdout
    assert not home.exists()
