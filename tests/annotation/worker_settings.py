"""Settings of a worker whose expert is a server of the test."""

from __future__ import annotations

import os

from config.settings import *
from tests.annotation.claude import entry

EXPERTS = {
    "claude": entry(os.environ["TEST_CLAUDE"], batch=False, max_concurrency=4),
    "claude-batch": entry(os.environ["TEST_CLAUDE"], batch=True),
}
