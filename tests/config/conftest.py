from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import embedded


@pytest.fixture
def process_free_env() -> dict[str, str]:
    """Environment for a process that needs no service: none of ours is set."""
    ours = ("TOUCHSTONE_", "DATABASE_URL", "REDIS_URL", "DJANGO_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return environ | {"DJANGO_SETTINGS_MODULE": "config.settings", "TOUCHSTONE_HOME": os.environ["TOUCHSTONE_HOME"]}


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home for services of the test's own, as careful with data as real ones; they are ended after it.

    Not under tmp_path, which is closed to others.
    """
    monkeypatch.delenv("TOUCHSTONE_POSTGRES_OPTIONS")
    folder = Path(tempfile.mkdtemp(prefix="touchstone-home-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder / "home"
    embedded.let_go(folder / "home")
    assert embedded.wait_until_stopped(folder / "home")
    shutil.rmtree(folder, ignore_errors=True)
