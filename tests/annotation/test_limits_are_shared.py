"""Several processes and one Valkey: together they never ask more than is allowed, as the server sees it, and each gets its share."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from uuid import uuid4

import pytest
import redis
from django.conf import settings as django_settings

from annotation.meter import AWAY, ValkeyMeter
from grading.limits import GONE, Allowance, LocalMeter
from tests.annotation.asker import WINDOW
from tests.grading.servers.openai import ScriptedOpenAI

pytestmark = [pytest.mark.django_db, pytest.mark.slow]  # the database starts Valkey, too

MINUTE = 2.0  # seconds that stand for one
PROCESSES = 4


class Timed(ScriptedOpenAI):
    """Notes when each request came, from whom, and how many tokens it took."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[tuple[float, str, int]] = []
        self.script = lambda body, index: {"message": {"role": "assistant", "content": "yes " * (8 + len(self.came) % 9)}}

    def respond(self, request):
        reply = super().respond(request)
        self.came.append((time.monotonic(), request.body["user"], reply.body["usage"]["total_tokens"]))
        return reply


def race(options: dict[str, int], count: int) -> list[tuple[float, str, int]]:
    """What the server saw of PROCESSES processes that ask `count` times each."""
    environ = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    with Timed().running() as server:
        arguments = [server.url, django_settings.REDIS_URL, f"test:{uuid4()}:"]
        command = [sys.executable, "-m", "tests.annotation.asker", *arguments]
        processes = [
            subprocess.Popen([*command, f"p{i}", json.dumps(options), str(count)], cwd=django_settings.BASE_DIR, env=environ, stderr=subprocess.PIPE)
            for i in range(PROCESSES)
        ]
        try:
            for process in processes:
                _, errors = process.communicate(timeout=120)
                assert process.returncode == 0, errors.decode()
        finally:
            for process in processes:
                process.kill()
                process.wait()
        return server.came


def most_in_a_minute(came: list[tuple[float, int]]) -> int:
    return max(sum(cost for at, cost in came if start <= at < start + MINUTE) for start, _ in came)


@pytest.mark.slow
def test_processes_that_race_never_make_more_requests_than_are_allowed_in_any_minute_and_none_starves():
    came = race({"requests_per_minute": 24}, 40)
    assert len(came) == 40 * PROCESSES
    assert most_in_a_minute([(at, 1) for at, _, _ in came]) <= 24
    took = came[-1][0] - came[0][0]
    assert took < 1.3 * (len(came) / 24) * WINDOW  # the allowance is made use of
    # Once all are there, each gets its turn: leave out the beginning (they start one after the other) and the end.
    middle = [who for _, who, _ in came[len(came) // 4 : len(came) * 3 // 4]]
    shares = Counter(middle)
    assert len(shares) == PROCESSES
    assert min(shares.values()) > 0.25 * len(middle) / PROCESSES  # even shares need an even machine


@pytest.mark.slow
def test_processes_that_race_never_use_more_tokens_than_are_allowed_in_any_minute():
    came = race({"tokens_per_minute": 500}, 20)
    assert len(came) == 20 * PROCESSES
    assert most_in_a_minute([(at, tokens) for at, _, tokens in came]) <= 500
    assert most_in_a_minute([(at, tokens) for at, _, tokens in came]) > 250  # and not by asking far too little


@pytest.fixture
def allowance() -> Allowance:
    return Allowance(f"test {uuid4()}", requests=5, tokens=100)


@pytest.fixture(params=["local", "valkey"])
def make_meter(request):
    """Makes a meter with a window of so many seconds."""
    made = []

    def make(window: float):
        made.append(LocalMeter(window=window) if request.param == "local" else ValkeyMeter(django_settings.REDIS_URL, "test:", window))
        return made[-1]

    yield make
    assert not any(getattr(meter, "_away_until", None) for meter in made)


def test_both_meters_keep_the_order_the_sums_and_the_corrections(make_meter, allowance):
    meter = make_meter(1.0)

    async def run() -> None:
        assert not await meter.ask(allowance, "a", 1, 60)
        assert 0 < await meter.ask(allowance, "large", 1, 90) <= 0.5
        assert await meter.ask(allowance, "small", 1, 10) > 0  # it does not overtake
        await meter.settle(allowance, "a", 5)
        assert not await meter.ask(allowance, "large", 1, 90)
        assert not await meter.ask(allowance, "small", 1, 5)
        assert await meter.ask(allowance, "b", 1, 10) > 0
        await meter.leave(allowance, "b")
        await asyncio.sleep(1.05)
        assert [await meter.ask(allowance, f"c{i}", 1, 20) for i in range(5)] == [0] * 5
        assert await meter.ask(allowance, "d", 1, 0) > 0  # five requests
        assert await meter.ask(allowance, "e", 9, 900) > 0

    asyncio.run(run())


def test_one_that_died_while_it_waited_keeps_nobody(make_meter, allowance):
    meter = make_meter(60.0)

    async def run() -> None:
        assert not await meter.ask(allowance, "a", 1, 50)
        assert await meter.ask(allowance, "dead", 1, 100) > 0
        assert await meter.ask(allowance, "b", 1, 10) > 0
        await asyncio.sleep(GONE + 0.1)
        assert not await meter.ask(allowance, "b", 1, 10)

    asyncio.run(run())


def test_nothing_of_a_limit_stays_in_valkey(allowance):
    meter = ValkeyMeter(django_settings.REDIS_URL, "test:", 1.0)

    async def run() -> None:
        await meter.ask(allowance, "a", 1, 60)
        await meter.ask(allowance, "b", 1, 60)
        await meter.settle(allowance, "a", 5)

    asyncio.run(run())
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        keys = client.keys(f"test:{{{allowance.name}}}:*")
        assert len(keys) == 3
        assert all(0 < client.ttl(key) <= 2 for key in keys)


def test_where_valkey_is_away_each_process_keeps_the_limit_and_says_so_once(allowance, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    socket = tmp_path / "valkey.sock"
    real = django_settings.REDIS_URL.removeprefix("unix://").partition("?")[0]
    meter = ValkeyMeter(f"unix://{socket}", "test:", 60.0)

    async def take(ticket: str) -> float:
        return await meter.ask(allowance, ticket, 1, 0)

    assert [asyncio.run(take(str(i))) for i in range(5)] == [0] * 5
    assert asyncio.run(take("sixth")) > 0
    time.sleep(AWAY)
    assert asyncio.run(take("sixth")) > 0  # asked anew, and still away
    assert caplog.text.count("Valkey is away") == 1
    socket.symlink_to(real)
    time.sleep(AWAY)
    assert asyncio.run(take("seventh")) == 0
    assert caplog.text.count("shared again") == 1
