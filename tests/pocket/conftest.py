"""The pocket tests need neither Django nor a folder for jobs, and tiny models are fastest on one thread."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def jobs_dir(tmp_path: Path) -> Path:
    """Stands before the fixture of all other tests, which needs Django's settings."""
    return tmp_path


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two threads on a busy machine wait for each other most of the time."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
