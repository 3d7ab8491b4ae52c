"""The server is killed while somebody writes, and comes back: not a word is lost."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from django.conf import settings

from annotation.models import Draft, Feedback
from tests.web import scenery

pytestmark = pytest.mark.browser


@pytest.fixture
def server(process_env) -> Iterator[Callable[[], subprocess.Popen]]:
    """Starts a web server of this test's own, always at the same address; the address is its attribute `at`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started: list[subprocess.Popen] = []
    command = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port), "--log-level", "error"]

    def start() -> subprocess.Popen:
        started.append(subprocess.Popen(command, cwd=settings.BASE_DIR, env=process_env, start_new_session=True))
        for _ in range(300):
            with suppress(OSError), urllib.request.urlopen(start.at, timeout=5):  # type: ignore[attr-defined]
                return started[-1]
            time.sleep(0.1)
        raise AssertionError("the web server does not answer")

    start.at = f"http://localhost:{port}"  # type: ignore[attr-defined]
    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_what_is_written_while_the_server_is_away_is_saved_when_it_is_back(scene, visitor, server):
    scenery.ledger_batch(scene)
    process = server()
    page = visitor("edith", base_url=server.at)
    page.get_by_role("button", name="Start reviewing").click()
    page.get_by_text("Yours for").wait_for()
    page.get_by_label("Critique").press_sequentially("Before the fall. ")
    page.locator("#saved", has_text=re.compile("^Saved ")).wait_for()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    page.get_by_label("Critique").press_sequentially("While it is away. ")
    page.get_by_text("Not saved").wait_for()
    assert Draft.objects.get().critique == "Before the fall. "
    server()
    page.locator("#saved", has_text=re.compile("^Saved ")).wait_for(timeout=30_000)
    assert Draft.objects.get().critique == "Before the fall. While it is away. "
    page.get_by_label("Score", exact=True).fill("50")
    first = page.url
    page.get_by_role("button", name="Submit and next").click()
    page.wait_for_url(lambda url: url != first)
    assert Feedback.objects.get().critique == "Before the fall. While it is away. "
