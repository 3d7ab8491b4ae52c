"""Requests and tokens a minute: never more, whoever comes first goes first, and what was not used is free again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from grading.errors import ConfigurationError
from grading.limits import GONE, POLL, WINDOW, Allowance, Limiter, LocalMeter
from grading.models.openai import OpenAIModel
from grading.testing import ask, generate
from grading.types import Sampling
from tests.grading.servers.http import HANG_UP
from tests.grading.servers.openai import ScriptedOpenAI

BOTH = Allowance("both", requests=10, tokens=1000)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def take(clock) -> Callable[..., float]:
    """Ask once: the seconds to wait, 0 where one may go."""
    meter = LocalMeter(clock)
    return lambda ticket, requests=1, tokens=0, allowance=BOTH: asyncio.run(meter.ask(allowance, ticket, requests, tokens))


def most_in_a_minute(went: list[tuple[float, int]]) -> int:
    return max(sum(cost for at, cost in went if start <= at < start + 60) for start, _ in went)


@pytest.mark.parametrize("seed", range(5))
def test_in_no_minute_is_more_asked_than_is_allowed_and_nearly_as_much(seed, clock):
    meter, rng = LocalMeter(clock), random.Random(seed)
    went: list[tuple[float, int]] = []
    waiting: dict[str, int] = {}

    async def run() -> None:
        for number in range(4000):
            if len(waiting) < 8:
                waiting[str(number)] = rng.randint(1, 300)
            ticket = rng.choice(list(waiting))
            if not await meter.ask(BOTH, ticket, 1, waiting[ticket]):
                went.append((clock.now, waiting.pop(ticket)))
            clock.now += rng.random() * 0.3

    asyncio.run(run())
    assert most_in_a_minute([(at, 1) for at, _ in went]) <= 10
    assert most_in_a_minute(went) <= 1000
    minutes = (clock.now - 1000.0) / 60
    assert sum(cost for _, cost in went) > 0.7 * 1000 * minutes


def test_who_came_first_is_not_overtaken_by_who_wants_less(take, clock):
    assert take("a", tokens=900) == 0
    assert 0 < take("large", tokens=800) <= POLL
    assert take("small", tokens=50) > 0  # it would fit
    clock.now += GONE - 1
    assert take("large", tokens=800) > 0
    clock.now += WINDOW - GONE + 1.001
    assert take("small", tokens=50) == 0  # the large one has given up, or asks too late
    assert take("large", tokens=800) == 0


def test_those_who_fit_behind_all_who_wait_need_not_wait_for_them(take):
    take("a", tokens=500)
    assert [take(name, tokens=100) for name in "bcde"] == [0, 0, 0, 0]


def test_what_is_more_than_all_that_is_allowed_goes_alone(take, clock):
    take("a", tokens=1)
    assert take("huge", tokens=10**6) > 0
    clock.now += WINDOW
    assert take("huge", tokens=10**6) == 0
    assert take("b", tokens=1) > 0


def test_limits_of_different_names_do_not_meet(take):
    other = Allowance("other", requests=1)
    assert take("a", allowance=other) == 0
    assert take("b", allowance=other) > 0
    assert take("c") == 0


def test_what_was_reckoned_too_high_is_free_as_soon_as_that_is_known(clock):
    meter = LocalMeter(clock)

    async def run() -> None:
        assert not await meter.ask(BOTH, "a", 1, 1000)
        assert await meter.ask(BOTH, "b", 1, 900)
        await meter.settle(BOTH, "a", 100)
        assert not await meter.ask(BOTH, "b", 1, 900)

    asyncio.run(run())


def test_what_was_written_late_counts_from_then_on(clock):
    """Servers count tokens as they are written: those of a long answer may fall into the next minute."""
    meter = LocalMeter(clock)

    async def run() -> None:
        await meter.ask(BOTH, "a", 1, 10)
        clock.now += WINDOW - 1
        await meter.settle(BOTH, "a", 1000)
        clock.now += 30
        assert await meter.ask(BOTH, "b", 1, 1)
        clock.now += WINDOW - 30
        assert not await meter.ask(BOTH, "b", 1, 1)

    asyncio.run(run())


def test_the_length_of_answers_is_reckoned_from_those_that_came():
    limiter = Limiter("reckoned", tokens_per_minute=10**6)

    async def run() -> None:
        assert limiter.reckon(50, 16_000) == 16_050
        for written in (100, 200, 300, 200, 100):
            await (await limiter.acquire(tokens=16_050)).used(50, written)
        assert limiter.reckon(50, 16_000) == 650
        assert limiter.reckon(50, 500) == 550

    asyncio.run(run())


def test_one_who_is_cancelled_while_waiting_keeps_nobody(meter):
    limiter = Limiter("cancelled", requests_per_minute=3)

    async def run() -> None:
        for _ in range(3):
            await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire(2))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not meter._windows["cancelled"].waiting

    asyncio.run(run())


def test_without_a_limit_nothing_is_waited_for_or_counted():
    assert not Limiter("free", 0, None)
    assert Limiter("free", 1)
    with pytest.raises(ConfigurationError, match="requests_per_minute"):
        Limiter("free", -1)


@pytest.mark.parametrize("meter", [1.3], indirect=True)
def test_a_model_spreads_its_requests_and_those_that_its_client_repeats(meter):
    """4 requests a second, of which one is dropped and sent again by the client: 9 arrivals, never more than 4 in a second."""
    arrivals: list[float] = []

    class Timed(ScriptedOpenAI):
        def respond(self, request):
            arrivals.append(asyncio.get_running_loop().time())
            if len(arrivals) == 2:
                return HANG_UP
            return super().respond(request)

    with Timed().running() as server:
        model = OpenAIModel(f"{server.url}/v1", "tiny", requests_per_minute=4, max_retries=1, timeout=5.0)
        assert len(generate(model, ask(*map(str, range(8))), Sampling())) == 8
    assert len(arrivals) == 9
    assert all(later - first > 1.0 for first, later in zip(arrivals, arrivals[4:], strict=False))
