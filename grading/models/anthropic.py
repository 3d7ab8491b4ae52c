"""Claude, by Anthropic's Messages API or by Message Batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from grading.errors import ConfigurationError, GraderError, Retry
from grading.limits import Limiter
from grading.models.base import (
    BATCH,
    WAIT,
    BatchHandle,
    Calls,
    N,
    Outcome,
    Secret,
    check,
    check_address,
    check_options,
    encodable,
    idempotency,
    paced,
    seconds,
    times_before,
    tokens_of,
)
from grading.models.message_batches import Batches, Server, completion_of
from grading.types import Completion, Message, Sampling

EFFORTS = ("low", "medium", "high", "xhigh", "max")
THINKING = ("adaptive", "disabled")
CACHES = ("5m", "1h")
CACHED_FROM = 4000  # characters, about 1,000 tokens: no model caches less, and most ask for more
LONGEST_UNSTREAMED = 21_333  # tokens that the API writes in ten minutes, beyond which it wants to stream
LONGEST_PATIENCE = 120.0  # seconds of retry-after that are waited within a call; with more, the caller is told


class AnthropicModel:
    """The Claude model with the id `model`, whose key is in the environment variable `api_key_env`.

    `thinking` is "adaptive", "disabled" or None for the model's default, and `effort` low, medium, high, xhigh, max or None for the default.
    What is thought counts towards `Sampling.max_tokens` and is not part of the text. The API takes no temperature, top_p or seed and these
    models go on with no turn of their own, so none of that is promised. `base_url` is for a gateway or another server that speaks this API.
    `max_concurrency` requests are under way at a time in one call of `generate`; n samples are n requests.

    What all requests of a call share at the beginning is read once: `cache` says for how long the API keeps it ("5m", or "1h" for batches that
    take their time; None: not at all). So instructions and rubric should stand before the text in a grading prompt. The first request goes
    alone, since others can only read what it has written; where a request is sampled more than once, its own prompt is cached too.

    What is tried again: the client itself does so `max_retries` times within the call, after half a second and then longer or as long as
    `retry-after` says (at most two minutes), for 408, 409, 429, 5xx with 529, a dropped connection and no answer within `timeout` seconds. What
    is left is a `GraderError` that says when to come back. A request that timed out may have been answered, and paid, all the same.

    With `batch`, requests go into Message Batches of up to `batch_size` and 32 MB: half the price, mostly within an hour, at most in a day. They are
    looked at every `poll_seconds`; after `max_wait` seconds (default: as long as it takes) `StillRunning` is raised, which needs a `BatchHandle`
    to come back with. What expired or failed at the server is asked again up to `resubmissions` times, and nothing else is; what somebody
    cancelled is not. Making a batch is not retried by the client: where the answer is lost, the batches that came into being meanwhile are
    looked through, and where there is none the caller is told to try again. A batch that cannot be seen yet (404 right after it was made) and
    failures while looking are put up with `missed_polls` times in a row, the failures only as long as there is time to wait.

    `requests_per_minute` and `tokens_per_minute` (read and written together, without what comes from the cache, which Anthropic does not
    count; None: no limit) are kept by all who ask under the same `limit_name`, by default this model at this server: within a process, and,
    where Touchstone's own processes ask, between them. Making a batch is one request, and its tokens do not count.

    Raises `ConfigurationError` for options that will not do.
    """

    def __init__(
        self,
        model: str,
        api_key_env: str = "ANTHROPIC_API_KEY",
        *,
        effort: str | None = None,
        thinking: str | None = "adaptive",
        cache: str | None = "5m",
        base_url: str | None = None,
        max_concurrency: int = 16,
        timeout: float = 600.0,
        max_retries: int = 2,
        batch: bool = False,
        batch_size: int = 10_000,
        poll_seconds: float = 30.0,
        max_wait: float | None = None,
        resubmissions: int = 2,
        missed_polls: int = 10,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        limit_name: str | None = None,
    ) -> None:
        for name, value, allowed in (("effort", effort, EFFORTS), ("thinking", thinking, THINKING), ("cache", cache, CACHES)):
            if value is not None and value not in allowed:
                raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}, or None, not {value!r}")
        if base_url is not None:
            check_address(base_url)
        if not 1 <= batch_size <= 100_000 or poll_seconds < 0 or resubmissions < 0 or missed_polls < 0:
            raise ConfigurationError("batch_size must be 1 to 100,000, and poll_seconds, resubmissions and missed_polls 0 or more")
        if max_wait is not None and (not batch or max_wait < 0):
            raise ConfigurationError("max_wait is 0 or more seconds, and for batch=True only")
        check_options(max_concurrency=max_concurrency, timeout=timeout, max_retries=max_retries)
        self.capabilities = frozenset({N, BATCH} if batch else {N})
        self.model, self.effort, self.thinking, self.cache, self.base_url = model, effort, thinking, cache, base_url
        self.max_concurrency, self.timeout, self.max_retries = max_concurrency, timeout, max_retries
        self.batch, self.batch_size, self.poll_seconds, self.max_wait = batch, batch_size, poll_seconds, max_wait
        self.resubmissions, self.missed_polls = resubmissions, missed_polls
        self.limiter = Limiter(limit_name or f"{(base_url or 'anthropic').rstrip('/')} {model}", requests_per_minute, tokens_per_minute)
        self.secret = Secret.read(api_key_env)

    async def generate(
        self, requests: Sequence[Sequence[Message]], sampling: Sampling, *, seed: int, batches: BatchHandle | None = None
    ) -> list[list[Completion]]:
        """See `LanguageModel.generate`; `batches` are the caller's, to resume from (see `BatchHandle`).

        The seed changes nothing at the API. In batches it tells apart what was asked for twice: with another seed, the same request is a new one.
        """
        check(self, requests, sampling)
        if not self.batch and sampling.max_tokens > LONGEST_UNSTREAMED:
            raise ConfigurationError(f"max_tokens above {LONGEST_UNSTREAMED} take batch=True: the API would want to stream the answer")
        if batches is not None and not self.batch:
            raise ConfigurationError("batches are for a model with batch=True")
        if self.max_wait is not None and batches is None:
            raise ConfigurationError("with max_wait, generate needs a BatchHandle: what is not waited for is paid all the same")
        sdk = _sdk()
        shared = shared_prefix(requests) if self.cache else NOTHING
        # A client for each call: its connections belong to the event loop, and callers have more than one.
        async with sdk.AsyncAnthropic(
            api_key=self.secret.value,
            base_url=self.base_url,
            timeout=self.timeout,
            max_retries=self.max_retries,
            middleware=[_impatient],
            http_client=paced(sdk, self.limiter),
        ) as client:
            check_address(str(client.base_url))  # where none was given it comes from the environment
            server = Server(sdk, client, self.secret)
            if self.batch:
                return await Batches(self, server, batches or BatchHandle()).generate(requests, sampling, seed, shared)
            return await self._generate(server, requests, sampling, shared)

    async def _generate(self, server: Server, requests: Sequence[Sequence[Message]], sampling: Sampling, shared: Prefix) -> list[list[Completion]]:
        calls = Calls(self.max_concurrency)
        found: dict[tuple[int, int], Outcome] = {}
        times = times_before(requests)
        for places in self._in_order(len(requests), sampling.n, shared):
            jobs = [partial(self._answer, server, requests, i, sampling, shared, (times[i], k)) for i, k in places]
            found.update(zip(places, await calls.run(jobs), strict=True))
        return calls.settle([[found[i, k] for k in range(sampling.n)] for i in range(len(requests))], sampling.n)

    def _in_order(self, requests: int, n: int, shared: Prefix) -> Iterator[list[tuple[int, int]]]:
        """The (request, sample)s in groups: each may only begin when the one before has written what it reads from the cache."""
        first, others = [(i, 0) for i in range(requests)], [(i, k) for k in range(1, n) for i in range(requests)]
        if not self.cache or (shared == NOTHING and n == 1):
            yield first + others
            return
        if shared != NOTHING:
            yield first[:1]
            first = first[1:]
        yield first
        yield others

    async def _answer(
        self, server: Server, requests: Sequence[Sequence[Message]], place: int, sampling: Sampling, shared: Prefix, sample: tuple[int, int]
    ) -> list[Completion]:
        messages = requests[place]
        body = self.request(messages, sampling, shared)
        turn = await self.limiter.acquire(tokens=self.limiter.reckon(tokens_of(messages), sampling.max_tokens))
        message = await server.ask(server.client.messages.create(**body, extra_headers=idempotency(body, *sample)))
        if getattr(message, "content", None) is None or getattr(message, "usage", None) is None:
            raise GraderError(f"{server.name} answered without a message", retry=Retry.after(WAIT))
        completion = completion_of(message)
        await turn.used(completion.usage.input_tokens + completion.usage.cache_write_tokens, completion.usage.output_tokens)
        return [completion]

    def request(self, messages: Sequence[Message], sampling: Sampling, shared: Prefix) -> dict[str, Any]:
        """The body of a request of Messages."""
        whole = bool(self.cache) and sampling.n > 1 and sum(len(message.content) for message in messages) >= CACHED_FROM
        turns = [
            {"role": message.role, "content": self._content(message.content, shared.cut(i), shared.ends(i) or (whole and i == len(messages) - 1))}
            for i, message in enumerate(messages)
        ]
        body: dict[str, Any] = {"model": self.model, "max_tokens": sampling.max_tokens}
        if turns[0]["role"] == "system":
            body["system"] = turns.pop(0)["content"]
        body["messages"] = turns
        if self.thinking is not None:
            body["thinking"] = {"type": self.thinking}
        if self.effort is not None:
            body["output_config"] = {"effort": self.effort}
        return body

    def _content(self, text: str, cut: int, marked: bool) -> str | list[dict[str, Any]]:
        """The text of a turn; its first `cut` characters, and with `marked` all of it, end where the cache may end."""
        text = encodable(text)  # as many characters as before
        mark = {"cache_control": {"type": "ephemeral", "ttl": self.cache}}
        parts = [{"type": "text", "text": text[:cut]} | mark] if cut else []
        if not parts and not marked:
            return text
        return [*parts, {"type": "text", "text": text[cut:]} | (mark if marked else {})]


@dataclass(frozen=True, slots=True)
class Prefix:
    """What requests have in common at their beginning: the first `turns` turns, and `chars` characters of the next."""

    turns: int = 0
    chars: int = 0

    def cut(self, turn: int) -> int:
        return self.chars if turn == self.turns else 0

    def ends(self, turn: int) -> bool:
        return not self.chars and turn == self.turns - 1


NOTHING = Prefix()


def shared_prefix(requests: Sequence[Sequence[Message]]) -> Prefix:
    """Where the common beginning of two or more requests ends: after a turn, a line or a word; `NOTHING` where it is too short to be cached."""
    if len(requests) < 2:
        return NOTHING
    first, turns = requests[0], min(map(len, requests))
    turns = next((i for i in range(turns) if any(messages[i] != first[i] for messages in requests)), turns)
    chars = 0
    if all(len(messages) > turns and messages[turns].role == first[turns].role for messages in requests):
        chars = _boundary(lambda: (messages[turns].content for messages in requests))
    length = sum(len(message.content) for message in first[:turns]) + chars
    return Prefix(turns, chars) if length >= CACHED_FROM else NOTHING


def _boundary(texts: Callable[[], Iterable[str]]) -> int:
    """How many characters the texts share, up to the end of a line, or else of a word. Either side of it has words: the API takes no blank text."""
    low, high = min(texts()), max(texts())  # what these two share, those between them share too
    common = low[: next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))]
    chars = (common.rfind("\n") + 1) or (common.rfind(" ") + 1)
    return chars if common[:chars].strip() and all(text[chars:].strip() for text in texts()) else 0


async def _impatient(request: Any, call_next: Any) -> Any:
    """Keep the client from sleeping for as long as a server likes: it would hold a worker for hours."""
    response = await call_next(request)
    headers = response.http_response.headers
    if seconds(headers.get("retry-after", ""), 0.0) > LONGEST_PATIENCE:
        headers["x-should-retry"] = "false"
    return response


def _sdk() -> Any:
    try:
        import anthropic
    except ImportError as exc:
        raise ConfigurationError(f"AnthropicModel needs the anthropic package: pip install -r requirements/base.txt ({exc})") from exc
    return anthropic
