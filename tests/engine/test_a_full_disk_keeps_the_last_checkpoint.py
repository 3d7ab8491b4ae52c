"""A disk that fills up while a checkpoint is saved costs that checkpoint alone."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess

import pytest

from tests.engine.conftest import change, result, reward, run_here, run_job
from training.engine.artifacts import newest

pytestmark = pytest.mark.training


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with two megabytes, where this user may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = shutil.which("mount") and os.geteuid() == 0
    if not made or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("making a small file system takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_no_space_left_while_saving_keeps_the_last_checkpoint_and_says_so(make_job, unbroken, small_disk, monkeypatch):
    folder = shutil.move(make_job("full", "rl", stop=6), small_disk / "full")
    change(folder, reward=reward(stop=str(folder / "stop"), at=3))
    assert run_here(folder, monkeypatch) == 0
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    (small_disk / "filler").write_bytes(b"x" * (free - 350_000))

    assert run_here(folder, monkeypatch) == 1
    assert "no space left" in result(folder)["error"]
    assert "Free space there; everything saved before is intact" in result(folder)["advice"]
    assert newest(folder / "checkpoints").step == 3
    assert not (folder / "partial").exists()

    (small_disk / "filler").unlink()
    assert run_here(folder, monkeypatch) == 0
    assert result(folder)["checkpoint"]["digest"] == result(unbroken)["checkpoint"]["digest"]


def test_a_limit_on_file_size_is_told_in_the_same_way(make_job):
    folder = make_job("limited", "rl", stop=4)
    limit = 100_000  # the tiny optimizer's state is larger
    process = run_job(folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert process.returncode == 1
    assert "no space left" in result(folder)["error"]
    assert newest(folder / "checkpoints") is None
