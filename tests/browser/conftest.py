"""A real web server on the test's database, and Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests.conftest import environment
from tests.web import scenery

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
)
SCREENS = os.environ.get("SCREENSHOTS", "")  # a folder to leave pictures in


@pytest.fixture(scope="session")
def site(django_db_setup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running web server that sees the test's database."""
    log = (tmp_path_factory.mktemp("site") / "log").open("w+")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port), "--log-level", "warning"]
    env = environment(tmp_path_factory.getbasetemp() / "jobs")
    process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=env, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://localhost:{port}"
    try:
        for _ in range(150):
            if process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{address}/sign-in/", timeout=5)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        else:
            pytest.fail("the web server did not come up")
        if process.poll() is not None:
            log.seek(0)
            pytest.fail(f"the web server ended: {log.read()[-2000:]}")
        yield address
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture(scope="package")
def chromium() -> Iterator:
    # Not for the whole session: while Playwright's loop runs in this thread, no asynchronous test can.
    from playwright.sync_api import sync_playwright

    if not Path(CHROMIUM).exists():
        pytest.fail("Chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        # That loop is there while tests use the ORM: between Playwright's calls, never within them.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium, site: str, transactional_db) -> Iterator[Callable]:
    """`visitor(name, **context options)`: a page in a browser of its own, signed in as `name` (None: not signed in).

    What the browser complained about (script errors, refused styles) fails the test in the end.
    """
    contexts, complaints = [], []

    def visit(name: str | None = None, **options):
        context = chromium.new_context(**{"base_url": site, "viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        visit.pages.append(page)  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on("console", lambda message: complaints.append(f"{page.url}: {message.text}") if "Content Security" in message.text else None)
        if name:
            sign_in(page, name)
        return page

    visit.pages = []  # type: ignore[attr-defined]
    yield visit
    for context in contexts:
        context.close()
    settle()
    assert not complaints


def settle() -> None:
    """Wait until the web server is done with what closed pages had asked for: the database is emptied next, and would meet it."""
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
    with connection.cursor() as cursor:
        for _ in range(200):
            cursor.execute(busy)
            if not cursor.fetchone()[0]:
                return
            time.sleep(0.05)


def sign_in(page, name: str) -> None:
    page.goto("/sign-in/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(scenery.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "sign-in" not in url)


@pytest.fixture
def scene(transactional_db) -> scenery.Scenery:
    """People, the pocket domain and a panel; see `tests.web.scenery`."""
    return scenery.build()


@pytest.fixture
def review(scene, visitor):
    """Edith's page on the first of three long stories."""
    scenery.ledger_batch(scene)
    page = visitor("edith")
    page.get_by_role("button", name="Start reviewing").click()
    page.get_by_text("Yours for").wait_for()
    return page


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """On a failure, show what the last page said."""
    report = yield
    if report.when == "call" and report.failed and "visitor" in item.funcargs:
        for page in item.funcargs["visitor"].pages:
            report.sections.append((f"page {page.url}", page.locator("body").inner_text()[:3000]))
    return report
