"""Settings of the tests: config.settings with services of their own, in a home that goes away with the session."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

if "TOUCHSTONE_TEST_HOME" not in os.environ:  # the workers of pytest-xdist share what their parent has made
    os.environ["TOUCHSTONE_TEST_HOME"] = tempfile.mkdtemp(prefix="touchstone-test-", dir="/tmp")
    _owner = os.getpid()
_home = Path(os.environ["TOUCHSTONE_TEST_HOME"])
_home.chmod(0o755 if os.geteuid() == 0 else 0o700)  # as root the services' own user must pass through
for _name in [name for name in os.environ if name.startswith("TOUCHSTONE_") and name != "TOUCHSTONE_TEST_HOME"]:
    del os.environ[_name]
os.environ.pop("DATABASE_URL", None)
os.environ.pop("REDIS_URL", None)
os.environ["TOUCHSTONE_HOME"] = str(_home)
# Where it is vacuumed or analysed in the middle of a test, PostgreSQL counts none of the rows that the test has not committed, and
# plans joins for empty tables: nested loops that take minutes.
os.environ["TOUCHSTONE_POSTGRES_OPTIONS"] = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c autovacuum=off"

from config import embedded
from config.settings import *

# Each worker of pytest-xdist has a queue of its own, as it has a database of its own.
_number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
REDIS_URL = f"{REDIS_URL}?db={_number}"
CELERY_BROKER_URL = f"{CELERY_BROKER_URL}?virtual_host={_number}"
CACHES = {**CACHES, "shared": {**CACHES["shared"], "LOCATION": REDIS_URL}}
CHANNEL_LAYERS = {"default": {**CHANNEL_LAYERS["default"], "CONFIG": {"hosts": [REDIS_URL], "prefix": "touchstone"}}}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the real one is slow on purpose


def _clean_up() -> None:
    if globals().get("_owner") == os.getpid():
        embedded.let_go(_home)
        embedded.wait_until_stopped(_home)
        shutil.rmtree(_home, ignore_errors=True)


atexit.register(_clean_up)
