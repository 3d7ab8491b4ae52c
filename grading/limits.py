"""Requests and tokens a minute that a server allows. Whoever asks the same server shares them: within a process, or, with a meter of their own
(`share`), between processes."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol
from uuid import uuid4
from weakref import WeakKeyDictionary

from grading.errors import ConfigurationError

# Seconds for which what was asked is counted: the servers' minute, and what a request may be under way from us to them, since two that leave a
# minute apart may arrive within one.
WINDOW = 62.0
POLL = 0.5  # seconds between two questions of one who waits: by then others may have used less than they reckoned with
GONE = 5.0  # seconds after which one who does not ask any more has lost their place
KNOWN = 5  # answers by which the length of others is reckoned
LOOK_BACK = 100


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be asked in a minute under a name; None: as much as one likes."""

    name: str
    requests: int | None = None
    tokens: int | None = None

    def cost(self, requests: int, tokens: int) -> tuple[int, int]:
        """What is counted. What is more than all that is allowed goes alone instead of never."""
        return (0 if self.requests is None else min(requests, self.requests), 0 if self.tokens is None else min(tokens, self.tokens))


class Meter(Protocol):
    """Counts what is asked. Who came first goes first; used from several threads and event loops at once."""

    async def ask(self, allowance: Allowance, ticket: str, requests: int, tokens: int) -> float:
        """0 where the holder of `ticket` may go, and is counted; else the seconds, at most POLL, after which to ask again."""
        ...

    async def settle(self, allowance: Allowance, ticket: str, tokens: int) -> None:
        """One that went has used `tokens`, which count from now on in place of what was reckoned."""
        ...

    async def leave(self, allowance: Allowance, ticket: str) -> None:
        """One that waited does not any more."""
        ...


@dataclass(slots=True)
class _Window:
    went: deque[tuple[float, str]] = field(default_factory=deque)
    cost: dict[str, tuple[int, int]] = field(default_factory=dict)
    waiting: dict[str, tuple[float, int, int]] = field(default_factory=dict)  # in order: when they last asked, and for what
    requests: int = 0
    tokens: int = 0

    def count(self, now: float, ticket: str, requests: int, tokens: int) -> None:
        self.went.append((now, ticket))
        self.cost[ticket] = (requests, tokens)
        self.requests += requests
        self.tokens += tokens

    def forget(self, before: float) -> None:
        while self.went and self.went[0][0] <= before:
            requests, tokens = self.cost.pop(self.went.popleft()[1])
            self.requests -= requests
            self.tokens -= tokens


class LocalMeter:
    """Counts what this process asks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, window: float = WINDOW) -> None:
        self._clock, self._window, self._lock = clock, window, Lock()
        self._windows: defaultdict[str, _Window] = defaultdict(_Window)

    async def ask(self, allowance: Allowance, ticket: str, requests: int, tokens: int) -> float:
        requests, tokens = allowance.cost(requests, tokens)
        with self._lock:
            window, now = self._windows[allowance.name], self._clock()
            window.forget(now - self._window)
            window.waiting[ticket] = (now, requests, tokens)
            for other in [other for other, (asked, _, _) in window.waiting.items() if asked < now - GONE]:
                del window.waiting[other]
            together_requests, together_tokens = window.requests, window.tokens  # with those who came before, and with this one
            for other, (_, some, more) in window.waiting.items():
                together_requests, together_tokens = together_requests + some, together_tokens + more
                if other == ticket:
                    break
            if _fits(together_requests, allowance.requests) and _fits(together_tokens, allowance.tokens):
                del window.waiting[ticket]
                window.count(now, ticket, requests, tokens)
                return 0.0
            free = window.went[0][0] + self._window - now if window.went else POLL
            return min(POLL, max(0.01, free))

    async def settle(self, allowance: Allowance, ticket: str, tokens: int) -> None:
        with self._lock:
            window = self._windows[allowance.name]
            if ticket in window.cost:
                requests, reckoned = window.cost[ticket]
                window.cost[ticket] = (requests, 0)
                window.tokens -= reckoned
            window.count(self._clock(), f"{ticket}+", 0, tokens)

    async def leave(self, allowance: Allowance, ticket: str) -> None:
        with self._lock:
            self._windows[allowance.name].waiting.pop(ticket, None)


def _fits(together: int, allowed: int | None) -> bool:
    return allowed is None or together <= allowed


_meter: Meter = LocalMeter()
_lengths: defaultdict[str, deque[int]] = defaultdict(lambda: deque(maxlen=LOOK_BACK))


def share(meter: Meter) -> Meter:
    """From now on all limiters of this process count by `meter`; the one before."""
    global _meter
    before, _meter = _meter, meter
    return before


@dataclass(frozen=True, slots=True)
class Turn:
    """Leave to ask. What it really took is to be said by `used`; where it is not, what was reckoned stays counted."""

    meter: Meter
    allowance: Allowance
    ticket: str

    async def used(self, read: int, written: int) -> None:
        """Tokens that were read and written."""
        _lengths[self.allowance.name].append(written)
        if self.allowance.tokens is not None:
            await self.meter.settle(self.allowance, self.ticket, read + written)


class Limiter:
    """At most so many requests and tokens in any minute, together with all others under the same `name`. None or 0: no limit.

    Raises `ConfigurationError` for limits below 0.
    """

    def __init__(self, name: str, requests_per_minute: int | None = None, tokens_per_minute: int | None = None) -> None:
        if (requests_per_minute or 0) < 0 or (tokens_per_minute or 0) < 0:
            raise ConfigurationError("requests_per_minute and tokens_per_minute are 1 or more, or None for no limit")
        self.allowance = Allowance(name, requests_per_minute or None, tokens_per_minute or None)
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    def __bool__(self) -> bool:
        return self.allowance.requests is not None or self.allowance.tokens is not None

    def reckon(self, read: int, most: int) -> int:
        """Tokens to reckon with for a request that reads `read` and may write up to `most`: that much, until others have shown their length."""
        known = _lengths[self.allowance.name]
        return read + (most if len(known) < KNOWN else min(most, 2 * max(known)))

    async def acquire(self, requests: int = 1, tokens: int = 0) -> Turn:
        """Wait until so much may be asked. More than is allowed in a minute waits until nothing else was asked for a minute."""
        turn = Turn(_meter, self.allowance, uuid4().hex)
        if not self:
            return turn
        # One question at a time: those of one process wait in line here, so that at the meter each process has one place.
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            try:
                while True:
                    wait = await turn.meter.ask(self.allowance, turn.ticket, requests, tokens)
                    if not wait:
                        return turn
                    await asyncio.sleep(wait)
            except BaseException:
                await turn.meter.leave(self.allowance, turn.ticket)
                raise
