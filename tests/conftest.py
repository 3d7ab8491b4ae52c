"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.db import OperationalError
from django.db.backends.postgresql.operations import DatabaseOperations

collect_ignore = ["third_party"]  # packages of their own, which are tested as they are installed


@pytest.fixture(autouse=True)
def jobs_dir(settings, tmp_path: Path) -> Path:
    """Each test has a folder of its own for training jobs."""
    settings.JOBS_DIR = tmp_path / "jobs"
    return settings.JOBS_DIR


@pytest.fixture(scope="session", autouse=True)
def patient_flush() -> Iterator[None]:
    """Empty the tables again where that met a web server which still answered a page that is gone: PostgreSQL lets one of the two fail."""
    flush = DatabaseOperations.execute_sql_flush

    def persist(self: DatabaseOperations, statements: Iterable[str]) -> None:
        for _ in range(3):
            with suppress(OperationalError):
                return flush(self, statements)
        return flush(self, statements)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "execute_sql_flush", persist)
        yield


def environment(jobs: Path) -> dict[str, str]:
    """Environment for a process of ours (a worker, the web server, a command) that is to see the test's database and the jobs in `jobs`."""
    from django.db import connection

    with redis.Redis.from_url(settings.REDIS_URL) as queue:
        queue.flushdb()  # tasks of earlier tests name rows that are gone
    database = connection.settings_dict
    url = f"postgresql://{database['USER']}@/{database['NAME']}?host={database['OPTIONS']['host']}"
    environ = {name: value for name, value in os.environ.items() if name != "TOUCHSTONE_TEST_HOME"}
    return environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": url,
        "REDIS_URL": settings.REDIS_URL,
        "TOUCHSTONE_LOCAL": "yes",
        "TOUCHSTONE_JOBS": str(jobs),
    }


@pytest.fixture
def process_env(transactional_db, jobs_dir: Path) -> dict[str, str]:
    """`environment` with the jobs of this test."""
    return environment(jobs_dir)
