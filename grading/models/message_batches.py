"""Message Batches of Anthropic's API: half the price, mostly within an hour. What they are for is said at `AnthropicModel`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from json import JSONDecodeError
from math import inf
from typing import TYPE_CHECKING, Any

from grading.errors import ConfigurationError, GraderError, Retry, StillRunning
from grading.models.base import (
    DECLINED,
    WAIT,
    WAIT_BUSY,
    BatchHandle,
    Calls,
    NotThere,
    Outcome,
    Rejected,
    Secret,
    ask,
    idempotency,
    status_error,
)
from grading.types import Completion, Message, Sampling, Usage

if TYPE_CHECKING:
    from grading.models.anthropic import AnthropicModel, Prefix

BATCH_BYTES = 32_000_000  # of 256 MB that a batch may have: to send one takes several times its size in memory
CLOCKS = timedelta(minutes=1)  # that the API's clock may be behind ours
STOPS = {"end_turn": "end", "stop_sequence": "end", "max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "refused"}
STATUSES = {"invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403, "not_found_error": 404}


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
