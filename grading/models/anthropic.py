"""Claude, by Anthropic's Messages API or by Message Batches."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from json import JSONDecodeError
from math import inf
from typing import Any

from grading.errors import ConfigurationError, GraderError, Retry, StillRunning
from grading.limits import Limiter
from grading.models.base import (
    BATCH,
    DECLINED,
    WAIT,
    WAIT_BUSY,
    BatchHandle,
    Calls,
    N,
    NotThere,
    Outcome,
    Rejected,
    Secret,
    ask,
    check,
    check_address,
    check_options,
    encodable,
    idempotency,
    paced,
    seconds,
    status_error,
    times_before,
    tokens_of,
)
from grading.types import Completion, Message, Sampling, Usage

EFFORTS = ("low", "medium", "high", "xhigh", "max")
THINKING = ("adaptive", "disabled")
CACHES = ("5m", "1h")
CACHED_FROM = 4000  # characters, about 1,000 tokens: no model caches less, and most ask for more
LONGEST_UNSTREAMED = 21_333  # tokens that the API writes in ten minutes, beyond which it wants to stream
LONGEST_PATIENCE = 120.0  # seconds of retry-after that are waited within a call; with more, the caller is told
BATCH_BYTES = 32_000_000  # of 256 MB that a batch may have: to send one takes several times its size in memory
CLOCKS = timedelta(minutes=1)  # that the API's clock may be behind ours
STOPS = {"end_turn": "end", "stop_sequence": "end", "max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "refused"}
STATUSES = {"invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403, "not_found_error": 404}


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


def completion_of(message: Any) -> Completion:
    """A message of the API as a completion. What was thought, or is no text, is left out."""
    text = "".join(block.text for block in message.content if block.type == "text")
    usage = message.usage
    cost = Usage(usage.input_tokens or 0, usage.output_tokens or 0, usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0)
    stop = STOPS.get(message.stop_reason, str(message.stop_reason))
    failure = ""
    if stop == "refused":
        details = getattr(message, "stop_details", None)
        failure = DECLINED + str(getattr(details, "explanation", None) or getattr(details, "category", None) or "the model gave no reason")
    return Completion(text, stop == "end", cost, model=message.model or "", stop=stop, failure=failure)


@dataclass(frozen=True, slots=True)
class Server:
    """The API as one call of `generate` sees it."""

    sdk: Any
    client: Any  # anthropic.AsyncAnthropic
    secret: Secret

    @property
    def name(self) -> str:
        return str(self.client.base_url).rstrip("/")

    async def ask(self, call: Any) -> Any:
        return await ask(call, self.sdk, self.name, self.secret)


class Batches:
    """Requests of one call of `generate` on their way through Message Batches. See `AnthropicModel`."""

    def __init__(self, model: AnthropicModel, server: Server, handle: BatchHandle) -> None:
        self.model, self.server, self.handle = model, server, handle
        self.calls = Calls(1)
        self.found: dict[str, Outcome] = {}  # by custom_id
        self.cancelled: set[str] = set()
        waits = [seconds for seconds in (model.max_wait, handle.patience) if seconds is not None]
        self.deadline = asyncio.get_running_loop().time() + min(waits, default=inf)

    async def generate(self, requests: Sequence[Sequence[Message]], sampling: Sampling, seed: int, shared: Prefix) -> list[list[Completion]]:
        names = self._names(requests, sampling, seed)
        wanted = {name: i for i, some in enumerate(names) for name in some}
        try:
            await self._find_lost()
            await self._collect(self.handle.ids, wanted)
            for _ in range(self.model.resubmissions + 1):
                missing = [name for name in wanted if name not in self.found]
                if not missing:
                    break
                bodies = ((name, self.model.request(requests[wanted[name]], sampling, shared)) for name in missing)
                made: list[str] = []
                for chunk in self._chunks(bodies):
                    made += await self._create(chunk)
                    chunk.clear()  # before the next is written out
                await self._collect(made, wanted)
            if left := len(wanted.keys() - self.found.keys()):
                raise GraderError(f"{left} of {len(wanted)} requests expired or failed at {self.server.name} again", retry=Retry.after(WAIT_BUSY))
        except (GraderError, ConfigurationError) as exc:
            self.calls.failure = exc
        return self.calls.settle([[self.found.get(name) for name in some] for some in names], sampling.n)

    def _names(self, requests: Sequence[Sequence[Message]], sampling: Sampling, seed: int) -> list[list[str]]:
        """A custom_id for each sample of each request, which depends on what is asked and the seed, not on place or company."""
        model, times = self.model, Counter[str]()
        names: list[list[str]] = []
        options = [model.model, model.thinking, model.effort, sampling.max_tokens, seed]
        for messages in requests:
            asked = json.dumps([options, [[message.role, message.content] for message in messages]])
            digest = sha256(asked.encode()).hexdigest()[:40]
            names.append([f"{digest}-{times[digest]}-{k}" for k in range(sampling.n)])
            times[digest] += 1
        return names

    def _chunks(self, bodies: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
        chunk: list[dict[str, Any]] = []
        size = 0
        for name, body in bodies:
            entry = {"custom_id": name, "params": body}
            length = len(json.dumps(entry))
            if chunk and (len(chunk) == self.model.batch_size or size + length > BATCH_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append(entry)
            size += length
        if chunk:
            yield chunk

    async def _create(self, entries: list[dict[str, Any]]) -> list[str]:
        """Make a batch; its id, which the handle then knows too."""
        batches = self.server.client.with_options(max_retries=0).messages.batches
        began = (datetime.now(UTC) - CLOCKS).isoformat()
        await self.model.limiter.acquire()
        self.handle.announce(began, len(entries))
        headers = idempotency(entries, len(self.handle.ids))  # what has expired is asked again by another batch
        try:
            made = [_batch(await self.server.ask(batches.create(requests=entries, extra_headers=headers)), self.server).id]
        except GraderError as exc:
            made = await self._like(began, len(entries), exc)  # it may have been made all the same
            if not made:
                self.handle.settle(began)
                raise
        except ConfigurationError:
            self.handle.settle(began)
            raise
        self._keep(made, began)
        return made

    def _keep(self, ids: Sequence[str], began: str) -> None:
        for batch_id in ids:
            self.handle.remember(batch_id)
        self.handle.settle(began)

    async def _find_lost(self) -> None:
        """Of batches that were about to be made when a worker died, no id may be known."""
        for began, requests in list(self.handle.unsure):
            self._keep(await self._like(began, requests), began)

    async def _like(self, began: str, requests: int, otherwise: GraderError | None = None) -> list[str]:
        """Ids of batches of so many requests that were made since and are unknown. A stranger among them costs a wait, asking twice costs twice."""
        try:
            listed = await self.server.ask(self.server.client.messages.batches.list(limit=100))
            recent = [_batch(batch, self.server) for batch in getattr(listed, "data", None) or []]
        except (GraderError, ConfigurationError) as exc:
            raise otherwise or exc from None
        known, since = self.handle.ids, datetime.fromisoformat(began)
        return [batch.id for batch in recent if batch.created_at >= since and batch.id not in known and _total(batch) == requests]

    async def _collect(self, ids: Sequence[str], wanted: Mapping[str, int]) -> None:
        """Wait for the batches and take from them what is wanted. Raises `StillRunning` for those that have not ended in time, after the others."""
        running: StillRunning | None = None
        for batch_id in list(ids):
            try:
                await self._read(batch_id, _total(await self._ended(batch_id)), wanted)
            except StillRunning as exc:
                running = exc
        if running is not None:
            raise running
        if cancelled := self.cancelled - self.found.keys():
            raise GraderError(
                f"{len(cancelled)} requests were cancelled with their batch ({', '.join(ids)}): forget its id to ask them again", retry=Retry.never()
            )

    async def _ended(self, batch_id: str) -> Any:
        missed = 0
        while True:
            try:
                batch = _batch(await self.server.ask(self.server.client.messages.batches.retrieve(batch_id)), self.server)
            except (GraderError, NotThere) as exc:
                missed += 1
                late = isinstance(exc, GraderError) and asyncio.get_running_loop().time() >= self.deadline
                if late or missed > self.model.missed_polls:
                    raise _gone(exc, batch_id) from None
            else:
                missed = 0
                if batch.processing_status == "ended":
                    if not batch.results_url:
                        raise ConfigurationError(f"the results of the batch {batch_id} are no longer kept: forget its id to ask again")
                    return batch
                if asyncio.get_running_loop().time() >= self.deadline:
                    raise StillRunning(f"the batch {batch_id} has not ended yet", retry=Retry.after(self.model.poll_seconds))
            await asyncio.sleep(self.model.poll_seconds)

    async def _read(self, batch_id: str, total: int, wanted: Mapping[str, int]) -> None:
        """Take the results of a batch that has ended, of which there are `total`; from the beginning where the connection is lost."""
        import httpx2  # what the client is built on, and does not hide while results stream

        for _ in range(self.model.missed_polls + 1):
            seen = 0
            try:
                async for entry in await self.server.ask(self.server.client.messages.batches.results(batch_id)):
                    seen += 1
                    if entry.custom_id in wanted and entry.custom_id not in self.found:
                        self._take(entry.custom_id, entry.result)
            except (GraderError, httpx2.HTTPError, JSONDecodeError):
                seen = 0
            if seen == total:
                return
            await asyncio.sleep(self.model.poll_seconds)
        raise GraderError(f"the results of the batch {batch_id} do not arrive whole", retry=Retry.after(WAIT))

    def _take(self, name: str, result: Any) -> None:
        """What expired, or failed for no fault of the request, is left to be asked again."""
        if result.type == "succeeded":
            self.found[name] = self.calls.note([completion_of(result.message)])
        elif result.type == "canceled":
            self.cancelled.add(name)
        elif result.type == "errored":
            error = result.error.error
            exc = status_error(STATUSES.get(error.type, 500), error.message, [error.type], self.server.name, self.server.secret)
            if isinstance(exc, Rejected):
                self.found[name] = self.calls.note(exc)
            elif isinstance(exc, ConfigurationError):
                raise exc


def _gone(exc: GraderError | NotThere, batch_id: str) -> GraderError | ConfigurationError:
    if isinstance(exc, GraderError):
        return exc
    return ConfigurationError(f"the batch {batch_id} is not there: made with another key, or too old; forget its id to ask again ({exc})")


def _batch(answer: Any, server: Server) -> Any:
    """The batch that was answered. The client takes any JSON for one."""
    if not (getattr(answer, "id", None) and getattr(answer, "processing_status", None) and getattr(answer, "request_counts", None)):
        raise GraderError(f"{server.name} answered without a batch", retry=Retry.after(WAIT))
    return answer


def _total(batch: Any) -> int:
    counts = batch.request_counts
    return sum((counts.processing, counts.succeeded, counts.errored, counts.canceled, counts.expired))


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
