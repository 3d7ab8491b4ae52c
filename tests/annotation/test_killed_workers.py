"""kill -9 of a worker at every point between claim, call and submit: nothing is lost, nothing lands twice, and batches are paid once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.utils import timezone

from annotation import actions, tasks
from annotation.actions import ledger
from annotation.actions.budgets import held
from annotation.models import Batch, Budget, Charge, Claim, Expert, Feedback, Item, Price
from tests.annotation.claude import BATCHES, KEY, MESSAGES, Claude
from tests.annotation.makers import make_batch, make_claude
from tests.grading.servers.http import SLOW

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def server() -> Iterator[Claude]:
    with Claude().running() as running:
        yield running


@pytest.fixture
def worker(process_env, server) -> Iterator[Callable[[], subprocess.Popen]]:
    """Starts a Celery worker in a process group of its own."""
    started: list[subprocess.Popen] = []
    env = process_env | {"DJANGO_SETTINGS_MODULE": "tests.annotation.worker_settings", "TEST_CLAUDE": server.url, "ANTHROPIC_API_KEY": KEY}

    def start() -> subprocess.Popen:
        command = [sys.executable, "-m", "celery", "-A", "config", "worker", "-Q", "default", "--pool", "threads", "--concurrency", "2"]
        options = ["-l", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        started.append(subprocess.Popen([*command, *options], cwd=django_settings.BASE_DIR, env=env, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        kill(process)


def kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(true: Callable[[], object], sweep: bool = False, seconds: float = 60.0) -> None:
    deadline, swept = time.monotonic() + seconds, 0.0
    while not true():
        assert time.monotonic() < deadline
        if sweep and time.monotonic() - swept > 0.5:
            swept = time.monotonic()
            tasks.sweep()  # as beat does
        time.sleep(0.02)


@pytest.fixture
def budgets(domain) -> list[Budget]:
    """A hard budget in verdicts, with room for no more than the batch, and one in dollars."""
    return [actions.set_budget(unit="samples", limit=40), actions.set_budget(unit="money", limit=100)]


def claude(backend: str = "claude") -> Expert:
    """One that has a price."""
    Price.objects.create(name="opus", since="2026-01-01", input=4, output=20, cache_write=5, batch_discount=Decimal("0.5"))
    expert = make_claude(backend)
    Expert.objects.filter(pk=expert.pk).update(price="opus")
    return Expert.objects.get(pk=expert.pk)


def paid_once(budgets: list[Budget]) -> bool:
    """Each verdict is in the ledger once, and what was held by whoever died is free again."""
    samples, money = (Budget.objects.get(pk=budget.pk) for budget in budgets)
    charged = set(Charge.objects.values_list("feedback", flat=True)) == set(Feedback.objects.values_list("pk", flat=True))
    free = [held(samples), held(money)] == [0, 0]
    return charged and free and samples.spent == 40 and 0 < money.spent < 100 and not ledger.mismatched()


def finish(batch: Batch) -> None:
    """Sweep until all is answered, and check that nothing is left over and nothing came twice."""
    until(lambda: Batch.objects.filter(pk=batch.pk, closed__isnull=False).exists(), sweep=True)
    assert set(Item.objects.values_list("state", flat=True)) == {"done"}
    assert Feedback.objects.count() == Item.objects.count()
    assert Counter(Feedback.objects.values_list("item", flat=True)).most_common(1)[0][1] == 1
    assert not Claim.objects.filter(ended=None).exists()


@contextlib.contextmanager
def no_submits() -> Iterator[None]:
    """Within, whoever hands in a verdict waits for a lock."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE annotation_feedback IN SHARE MODE")
        yield


def end_leases() -> None:
    """As if ten minutes had passed since the worker was killed."""
    Claim.objects.filter(ended=None).update(expires=timezone.now())
    Batch.objects.filter(provider_look__isnull=False).update(provider_look=timezone.now())


def results_were_read(server: Claude) -> bool:
    return any(request.path.endswith("/results") for request in server.seen)


@pytest.mark.parametrize("point", ["claimed", "made, and its id unknown", "made, and its id kept", "results read"])
def test_a_worker_that_asks_by_batches_is_killed_and_no_request_is_sent_twice(point, server, worker, domain, budgets):
    if point == "claimed":
        server.faults = [SLOW]
    elif point == "made, and its id unknown":
        server.hold = ("POST", BATCHES, "batches")
    else:
        server.looks = 10**6
    batch = make_batch(claude("claude-batch"), domain, 40)
    process = worker()
    if point == "claimed":
        until(lambda: server.seen)
        assert not server.batches
    elif point == "made, and its id unknown":
        until(server.held.is_set)
        server.hold = None
    else:
        until(lambda: any(request.method == "GET" for request in server.seen))
        if point == "results read":
            with no_submits():
                server.batches["msgbatch_0"].looks = 0
                until(lambda: results_were_read(server))
                time.sleep(0.5)  # it waits for the lock
                kill(process)
            assert not Feedback.objects.exists()
    assert Item.objects.filter(state="claimed").count() == 40
    kill(process)
    assert held(budgets[0]) == 40
    assert held(budgets[1]) > 0
    server.looks = 0
    for made in server.batches.values():
        made.looks = 0
    end_leases()
    worker()
    finish(batch)
    assert len(server.batches) == 1
    assert set(server.sent_in_batches().values()) == {1}
    assert len(server.sent_in_batches()) == 40
    assert all(Feedback.objects.values_list("usage__batch", flat=True))
    assert paid_once(budgets)
    until(lambda: Batch.objects.get().provider_batches == {})


@pytest.mark.parametrize("point", ["claimed", "called", "answered"])
def test_a_worker_that_asks_by_messages_is_killed_and_at_most_the_chunk_in_flight_is_asked_again_under_the_same_keys(
    point, server, worker, domain, budgets
):
    chunk = tasks.CHUNK[Expert.Kind.LLM]
    if point == "claimed":
        server.faults = [SLOW] * 4
    elif point == "called":
        server.hold = ("POST", MESSAGES, "messages")
    batch = make_batch(claude(), domain, chunk + 8)
    process = worker()
    if point == "claimed":
        until(lambda: len(server.seen) == 4)
        assert not server.answered
    elif point == "called":
        until(server.held.is_set)
        time.sleep(0.3)
        server.hold = None
    else:
        with no_submits():
            until(lambda: len(server.answered) == chunk)
            time.sleep(0.5)  # it waits for the lock
            kill(process)
        assert not Feedback.objects.exists()
    asked_by_then = {text for text, _ in server.answered}
    kill(process)
    end_leases()
    worker()
    finish(batch)
    asked = Counter(text for text, _ in server.answered)
    assert len(asked) == chunk + 8
    assert max(asked.values()) <= 2
    assert {text for text, times in asked.items() if times == 2} == asked_by_then
    assert len(asked_by_then) == {"claimed": 0, "called": 4, "answered": chunk}[point]
    keys = {text: {key for other, key in server.answered if other == text} for text in asked}
    assert all(len(some) == 1 and all(some) for some in keys.values())
    assert paid_once(budgets)


def test_a_worker_that_lives_comes_back_by_itself_as_often_as_it_takes(server, worker, domain):
    server.looks = 8
    batch = make_batch(make_claude("claude-batch"), domain, 3)
    worker()
    until(lambda: Batch.objects.filter(pk=batch.pk, closed__isnull=False).exists())  # no sweep
    assert Feedback.objects.count() == 3
    looks = [request for request in server.seen if request.method == "GET" and request.path == f"{BATCHES}/msgbatch_0"]
    assert len(looks) == 10  # the client itself looks once more, for where the results are
