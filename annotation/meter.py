"""Limits of requests and tokens that all processes share, in Valkey."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from grading.limits import GONE, POLL, WINDOW, Allowance, LocalMeter

logger = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds that Valkey may take to answer
AWAY = 10.0  # seconds for which it is not asked after it was away

# The same as `grading.limits.LocalMeter`, by the server's clock. KEYS are of one name: who went (by time), who waits (by place), and a hash of
# "requests tokens" for each that went, "asked requests tokens" for each that waits ("?" before its name), and the sums.
COMMON = """
local went, waiting, book = KEYS[1], KEYS[2], KEYS[3]
local window = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function sum(name, by) return redis.call('HINCRBY', book, name, by) end
local function count(ticket, requests, tokens)
    redis.call('ZADD', went, string.format('%.6f', now), ticket)
    redis.call('HSET', book, ticket, requests .. ' ' .. tokens)
    sum('requests', requests)
    sum('tokens', tokens)
end
local function keep()
    for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, math.ceil(2 * window)) end
end
for _, old in ipairs(redis.call('ZRANGEBYSCORE', went, '-inf', string.format('%.6f', now - window))) do
    local requests, tokens = string.match(redis.call('HGET', book, old) or '0 0', '(%d+) (%d+)')
    sum('requests', -requests)
    sum('tokens', -tokens)
    redis.call('HDEL', book, old)
    redis.call('ZREM', went, old)
end
"""
ASK = (
    COMMON
    + """
local gone, poll, ticket = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local requests, tokens, most_requests, most_tokens = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
if not redis.call('ZSCORE', waiting, ticket) then redis.call('ZADD', waiting, sum('places', 1), ticket) end
redis.call('HSET', book, '?' .. ticket, string.format('%.6f %d %d', now, requests, tokens))
local together_requests, together_tokens = sum('requests', 0), sum('tokens', 0)
for _, other in ipairs(redis.call('ZRANGE', waiting, 0, -1)) do
    local asked, some, more = string.match(redis.call('HGET', book, '?' .. other) or '0 0 0', '(%S+) (%d+) (%d+)')
    if tonumber(asked) < now - gone then
        redis.call('ZREM', waiting, other)
        redis.call('HDEL', book, '?' .. other)
    else
        together_requests, together_tokens = together_requests + some, together_tokens + more
    end
    if other == ticket then break end
end
local wait = poll
if (most_requests < 0 or together_requests <= most_requests) and (most_tokens < 0 or together_tokens <= most_tokens) then
    redis.call('ZREM', waiting, ticket)
    redis.call('HDEL', book, '?' .. ticket)
    count(ticket, requests, tokens)
    wait = 0
else
    local first = redis.call('ZRANGE', went, 0, 0, 'WITHSCORES')
    if first[2] then wait = math.min(poll, math.max(0.01, first[2] + window - now)) end
end
keep()
return tostring(wait)
"""
)
SETTLE = (
    COMMON
    + """
local ticket, used = ARGV[2], tonumber(ARGV[3])
local known = redis.call('HGET', book, ticket)
if known then
    local requests, tokens = string.match(known, '(%d+) (%d+)')
    redis.call('HSET', book, ticket, requests .. ' 0')
    sum('tokens', -tokens)
end
count(ticket .. '+', 0, used)
keep()
return '0'
"""
)
LEAVE = (
    COMMON
    + """
redis.call('ZREM', waiting, ARGV[2])
redis.call('HDEL', book, '?' .. ARGV[2])
return '0'
"""
)


class ValkeyMeter:
    """Counts what all processes ask that share the Valkey at `url`. Where that is away, each process counts for itself, and says so once."""

    def __init__(self, url: str, prefix: str = "touchstone:limit:", window: float = WINDOW) -> None:
        self._prefix, self._window, self._local = prefix, window, LocalMeter(window=window)
        self._away_until: float | None = None
        self._client = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 1)
        )
        self._ask, self._settle, self._leave = (self._client.register_script(text) for text in (ASK, SETTLE, LEAVE))

    async def ask(self, allowance: Allowance, ticket: str, requests: int, tokens: int) -> float:
        requests, tokens = allowance.cost(requests, tokens)
        limits = [-1 if most is None else most for most in (allowance.requests, allowance.tokens)]
        wait = await self._run(self._ask, allowance, [self._window, GONE, POLL, ticket, requests, tokens, *limits])
        return await self._local.ask(allowance, ticket, requests, tokens) if wait is None else wait

    async def settle(self, allowance: Allowance, ticket: str, tokens: int) -> None:
        if await self._run(self._settle, allowance, [self._window, ticket, tokens]) is None:
            await self._local.settle(allowance, ticket, tokens)

    async def leave(self, allowance: Allowance, ticket: str) -> None:
        await self._run(self._leave, allowance, [self._window, ticket])
        await self._local.leave(allowance, ticket)

    async def _run(self, script: Callable[..., Any], allowance: Allowance, values: list[Any]) -> float | None:
        """What the script answers; None where Valkey is away. In a thread: event loops come and go, and a connection would belong to one."""
        if self._away_until is not None and time.monotonic() < self._away_until:
            return None
        base = f"{self._prefix}{{{allowance.name}}}"
        try:
            answer = float(await asyncio.to_thread(script, keys=[f"{base}:{part}" for part in ("went", "waiting", "book")], args=values))
        except redis.RedisError as exc:
            if self._away_until is None:
                logger.warning("Valkey is away, so each process keeps the limits of requests and tokens by itself: %s", exc)
            self._away_until = time.monotonic() + AWAY
            return None
        if self._away_until is not None:
            logger.info("Valkey is back: limits of requests and tokens are shared again")
            self._away_until = None
        return answer
