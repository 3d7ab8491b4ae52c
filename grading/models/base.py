"""What a language model is to a grader and to whoever samples a policy, and what the ones behind a server share."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from hashlib import blake2b, sha256
from itertools import groupby
from json import JSONDecodeError
from time import time
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from grading.errors import ConfigurationError, GraderError, Retry
from grading.limits import Limiter
from grading.secrecy import SHOWN, VARIABLE
from grading.types import Completion, Message, Sampling

N = "n"  # `Sampling.n` may be more than 1
SEED = "seed"  # the same requests, sampling and seed give the same completions; without it the seed means nothing
TEMPERATURE = "temperature"  # `Sampling.temperature` is obeyed, and 0 is greedy; without it, it must be 1
LOGPROBS = "logprobs"  # `Sampling.logprobs` is obeyed
PREFILL = "prefill"  # a conversation may end in the assistant's turn, which is gone on with; the completion holds what comes after it
BATCH = "batch"  # `generate` takes `batches`, a `BatchHandle`
CAPABILITIES = frozenset({N, SEED, TEMPERATURE, LOGPROBS, PREFILL, BATCH})

ROLES = ("system", "user", "assistant")
REJECTIONS = {400, 413, 422}  # HTTP statuses that may be the fault of one text
BUSY = {429, 529}
PASSING = {408, 409, 425, 429}  # and 500 and above
WAIT, WAIT_BUSY = 10.0, 30.0  # seconds until the next try where the server does not say
DAY = 86_400.0
SPENT = {"insufficient_quota", "billing_error"}  # 429 to some: waiting brings no money
DECLINED = "declined: "
TOO_LONG = ("context_length_exceeded", "maximum context length", "prompt is too long")
GIVE_UP = 8  # requests that a server refused, with none that it took, until no more are sent
T = TypeVar("T")
_work: ContextVar[str] = ContextVar("work", default="")


class LanguageModel(Protocol):
    """Anything that goes on with a conversation. `capabilities` holds the names above that it promises."""

    capabilities: frozenset[str]

    async def generate(self, requests: Sequence[Sequence[Message]], sampling: Sampling, *, seed: int) -> list[list[Completion]]:
        """`sampling.n` completions for each request, in the order of the requests.

        `requests` may be written out only as they are looked at (as a grader's are), so a model holds no more of them than it has under way.
        A request is a conversation: at most one system turn, which comes first, then turns of user and assistant, the last of them the user's
        (or the assistant's, with PREFILL). A completion that reaches `sampling.max_tokens` is not finished. A request that was declined, or that
        the server would not take while it took others, is answered by completions that say so (`Completion.failure`) and takes no other with it.

        Raises `ConfigurationError` where the model cannot be had as it is set up, or where the requests need what it does not promise (before
        anything is sent: `check`), and `GraderError` for what goes wrong outside, saying whether to try again and what was had already.
        """
        ...


class BatchHandle:
    """The batches that a caller has waiting at a provider, by id. It is what makes a restarted worker ask, and pay, once.

    Keep `state` with the work, and `load` it before the same requests, sampling and seed are handed in again: `generate` first looks whether
    those batches hold the answers, and sends what none of them has. Answers are found by the content of their request and the seed, so requests
    may come in another order, and some of them may be gone. The state changes while `generate` runs, whether or not it raises; for a crash in
    between, override `changed` to write it down each time.

    `ids` are the batches. `unsure` are those that were about to be made, (time in ISO 8601, requests): where no id came of one, a batch that looks
    like it is taken for it. `patience`: seconds that the caller is ready to wait, after which `StillRunning` is raised; None: as long as the
    model waits.
    """

    def __init__(self, ids: Sequence[str] = (), *, patience: float | None = None, parent: BatchHandle | None = None) -> None:
        self.ids = list(ids)
        self.unsure: list[tuple[str, int]] = []
        self.parts: dict[str, BatchHandle] = {}
        self.patience, self.parent = patience, parent

    def part(self, name: str) -> BatchHandle:
        """The batches of one of several calls of `generate` that belong together. Each waits for its own."""
        if name not in self.parts:
            self.parts[name] = BatchHandle(patience=self.patience, parent=self)
        return self.parts[name]

    @property
    def state(self) -> dict[str, Any]:
        """All that is to be kept, as JSON."""
        return {"ids": self.ids, "unsure": self.unsure, "parts": {name: part.state for name, part in self.parts.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; {} is the beginning."""
        self.ids = list(state.get("ids", ()))
        self.unsure = [(began, requests) for began, requests in state.get("unsure", ())]
        self.parts = {}
        for name, more in state.get("parts", {}).items():
            self.part(name).load(more)

    def announce(self, began: str, requests: int) -> None:
        """A batch of so many requests is about to be made."""
        self.unsure.append((began, requests))
        self.changed()

    def remember(self, batch_id: str) -> None:
        """A batch was made; called before anything waits for it."""
        self.ids.append(batch_id)
        self.changed()

    def settle(self, began: str) -> None:
        """Of the batch that was announced then, the id is known, or it was not made."""
        self.unsure = [entry for entry in self.unsure if entry[0] != began]
        self.changed()

    def changed(self) -> None:
        """Called in the event loop when the state has changed, also that of a part."""
        if self.parent is not None:
            self.parent.changed()


@contextmanager
def repeatable(work: str) -> Iterator[None]:
    """Within, requests carry an `Idempotency-Key`: the same request for the same `work` carries the same key, however often it is sent.

    For servers and gateways that answer such a request from what they have. Without it, asking twice means wanting two answers.
    """
    token = _work.set(work)
    try:
        yield
    finally:
        _work.reset(token)


def idempotency(body: Any, *sample: int) -> dict[str, str]:
    """The header that makes a request of `repeatable` work known; none outside. `sample` tells apart what is wanted several times."""
    work = _work.get()
    return {"Idempotency-Key": sha256(json.dumps([work, sample, body], sort_keys=True).encode()).hexdigest()} if work else {}


def times_before(requests: Sequence[Sequence[Message]]) -> list[int]:
    """How often each request stands before itself among the requests, for `idempotency`: 0 but for texts that are asked about twice."""
    if not _work.get():
        return [0] * len(requests)
    seen: Counter[bytes] = Counter()
    found = []
    for messages in requests:
        known = blake2b(repr(list(messages)).encode(), digest_size=16).digest()  # the requests themselves may be too many to hold
        found.append(seen[known])
        seen[known] += 1
    return found


def paced(sdk: Any, limiter: Limiter) -> Any:
    """HTTP for the client of `sdk` in which what it sends again by itself takes its turn too; None (the client's own) where nothing is limited."""
    if not limiter:
        return None

    async def take_turn(request: Any) -> None:
        if request.method == "POST" and request.headers.get("x-stainless-retry-count", "0") != "0":
            await limiter.acquire()

    return sdk.DefaultAsyncHttpxClient(event_hooks={"request": [take_turn]})


def tokens_of(messages: Sequence[Message]) -> int:
    """Tokens to reckon with for a conversation: rather too many than too few."""
    return sum(len(message.content.encode("utf-8", "replace")) // 3 + 8 for message in messages)


def derive_seed(*parts: int | str) -> int:
    """A seed of 63 bits that depends on all `parts` and their order."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def require(model: LanguageModel, capability: str, why: str) -> None:
    """Raise `ConfigurationError` where `model` does not promise `capability`; `why` says what needs it and what to do."""
    if capability not in model.capabilities:
        raise ConfigurationError(f"{type(model).__name__} does not promise {capability!r}: {why}")


def check(model: LanguageModel, requests: Sequence[Sequence[Message]], sampling: Sampling) -> None:
    """Raise `ConfigurationError` for requests that `model` cannot answer as asked. Every `generate` begins with this."""
    if sampling.n < 1 or sampling.max_tokens < 1 or sampling.temperature < 0:
        raise ConfigurationError(f"sampling needs n and max_tokens of at least 1 and a temperature of 0 or more, not {sampling}")
    if sampling.n > 1:
        require(model, N, "ask for one sample at a time")
    if sampling.temperature != 1.0:
        require(model, TEMPERATURE, "leave temperature out of sampling; noise is measured by asking again")
    if sampling.logprobs:
        require(model, LOGPROBS, "leave logprobs out of sampling")
    for messages in requests:
        _check_turns(model, [message.role for message in messages])


def _check_turns(model: LanguageModel, roles: Sequence[str]) -> None:
    if unknown := set(roles) - set(ROLES):
        raise ConfigurationError(f"a turn is of system, user or assistant, not of {', '.join(sorted(map(repr, unknown)))}")
    turns = roles[1:] if roles and roles[0] == "system" else roles
    if "system" in turns:
        raise ConfigurationError("a conversation has at most one system turn, and it comes first")
    if not turns or turns[0] != "user" or any(len(list(run)) > 1 for _, run in groupby(turns)):
        raise ConfigurationError(
            f"after the system turn, user and assistant take turns, and the user begins; not {', '.join(roles) or 'no turn at all'}"
        )
    if turns[-1] == "assistant":
        require(model, PREFILL, "end the conversation with the user's turn (complete earlier turns of the assistant are fine)")


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """What a server knows us by: read from the environment, shown to nobody else."""

    value: str

    @classmethod
    def read(cls, variable: str) -> Secret:
        """The value of an environment variable.

        Raises `ConfigurationError` where it is not set or holds no key, without repeating what may be the key itself.
        """
        if not isinstance(variable, str) or not VARIABLE.fullmatch(variable):
            raise ConfigurationError("api_key_env must be the name of an environment variable, and never the key itself")
        value = os.environ.get(variable, "").strip()
        named = variable if variable.isupper() else "that api_key_env names"  # some keys look like names
        if not value:
            raise ConfigurationError(f"the environment variable {named} is not set: put the API key there")
        if not value.isascii() or not value.isprintable() or " " in value:  # it would fail as a header, in words that quote it
            raise ConfigurationError(f"the environment variable {named} holds no key: there are blanks, line breaks or other signs in it")
        return cls(value)

    def __repr__(self) -> str:
        return f"Secret({SHOWN})"

    def hide(self, text: str) -> str:
        """`text` without the secret: servers quote the keys that they do not know."""
        return text.replace(self.value, SHOWN) if self.value else text


class Rejected(ConfigurationError):
    """The server would not take one request as it is.

    `reason` says why where that is the text for certain (too long, or declined by a filter). Otherwise the text is at fault if the server took
    others, and the set-up if it took none.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason

    def completion(self) -> Completion:
        reason = self.reason or f"not taken: {self}"
        return Completion("", finished=False, stop="refused" if reason.startswith(DECLINED) else "error", failure=reason)


class NotThere(ConfigurationError):
    """The server knows nothing by that name: 404."""


Job = Callable[[], Awaitable[list[Completion]]]
Outcome = list[Completion] | Rejected | None


@dataclass(slots=True)
class Calls:
    """Requests to one server, at most `limit` at a time.

    Once one has failed for a reason that others share, no more are begun; those under way are waited for, since they are paid.
    """

    limit: int
    failure: ConfigurationError | GraderError | None = None
    took: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        return self.failure is not None or (not self.took and len(self.rejected) >= GIVE_UP)

    async def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """What each job gave: completions, a rejection, or None where it failed or was not begun. Raises what is a fault of ours."""
        outcomes: list[Outcome] = [None] * len(jobs)
        waiting = iter(enumerate(jobs))

        async def work() -> None:
            while not self.stopped and (following := next(waiting, None)):
                index, job = following
                try:
                    outcomes[index] = self.note(await job())
                except Rejected as exc:
                    outcomes[index] = self.note(exc)
                except (ConfigurationError, GraderError) as exc:
                    self.failure = self.failure or exc

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.limit, len(jobs))):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return outcomes

    def note(self, outcome: list[Completion] | Rejected) -> Outcome:
        if isinstance(outcome, Rejected) and not outcome.reason:
            self.rejected.append(outcome)
        else:
            self.took += 1
        return outcome

    def settle(self, outcomes: Sequence[Sequence[Outcome]], n: int) -> list[list[Completion]]:
        """The `n` completions of each request, of whose jobs `outcomes` tells.

        A rejection stands for all samples of its job. Raises where an answer is missing, or where the server took nothing at all.
        """
        if isinstance(self.failure, ConfigurationError):
            raise self.failure
        if not self.took and self.rejected and self.failure is None:
            raise self.rejected[0]
        answers = [_completions(parts, n) for parts in outcomes]
        complete = [answer for answer in answers if answer is not None]
        if self.failure is not None:
            self.failure.partial = answers if complete and self.took else []  # rejections alone may be the set-up's fault
            raise self.failure
        if len(complete) < len(answers):  # given up on, and then one was taken after all
            raise self.rejected[0]
        return complete


def _completions(parts: Sequence[Outcome], n: int) -> list[Completion] | None:
    found: list[Completion] = []
    for part in parts:
        if part is None:
            return None
        if isinstance(part, Rejected):
            found += [part.completion()] * (n // len(parts))
        else:
            found += part
    return found


def check_options(*, max_concurrency: int, timeout: float, max_retries: int) -> None:
    """Raise `ConfigurationError` for options of a server's client that will not do."""
    given = f"{max_concurrency}, {timeout} and {max_retries}"
    if max_concurrency < 1 or timeout <= 0 or max_retries < 0:
        raise ConfigurationError(f"max_concurrency of 1 or more, timeout above 0 seconds and max_retries of 0 or more are needed, not {given}")


def check_address(base_url: str) -> None:
    """Raise `ConfigurationError` for what is no plain address of a server. It is shown in errors and kept with verdicts, so it holds no secret."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError("base_url must be an http or https address without user, password and query, such as http://127.0.0.1:8000/v1")


def encodable(text: str) -> str:
    """`text` as it can be sent: half a character (a lone surrogate) becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


async def ask(call: Awaitable[T], sdk: Any, server: str, secret: Secret) -> T:
    """What `call`, of the openai or the anthropic client `sdk`, answers; its errors are raised as ours, in words without the secret.

    `GraderError`, worth another try, after the server's own `retry-after` where there is one: 408, 409, 425, 429, 500 and above (529 among them),
    timeouts, dropped connections, and what is no answer at all. `Rejected`: 400, 413, 422. `ConfigurationError`: other statuses, and 429 for
    want of money.
    """
    # Ours are raised outside of the handlers: within, they would carry the client's own along, with the request and its key.
    try:
        return await call
    except sdk.APIStatusError as exc:
        said, kinds = _said(exc, secret)
        failure = status_error(exc.status_code, said, kinds, server, secret, exc.response.headers.get("retry-after", ""))
    except sdk.APITimeoutError:
        failure = GraderError(f"{server} did not answer in time", retry=Retry.after(WAIT))
    except sdk.APIConnectionError:
        failure = GraderError(f"{server} could not be reached, or hung up", retry=Retry.after(WAIT))
    except (sdk.APIError, JSONDecodeError, AttributeError) as exc:  # the last: the clients take it for granted that JSON is an object
        failure = GraderError(f"{server} answered what is no answer: {type(exc).__name__}", retry=Retry.after(WAIT))
    raise failure


def status_error(
    status: int, said: str, kinds: Collection[str], server: str, secret: Secret, retry_after: str = ""
) -> ConfigurationError | GraderError:
    """The error that an HTTP status stands for, given the server's message and the names it has for it. See `ask`."""
    said = secret.hide(said)[:500]
    message = f"{server} answered {status}: {said}"
    if status in REJECTIONS:
        return Rejected(message, _fault_of_text(said, kinds))
    if (status in PASSING or status >= 500) and not SPENT.intersection(kinds):
        return GraderError(message, retry=Retry.after(seconds(retry_after, WAIT_BUSY if status in BUSY else WAIT)))
    return NotThere(message) if status == 404 else ConfigurationError(message)


def _fault_of_text(said: str, kinds: Collection[str]) -> str:
    if "content_filter" in kinds:
        return DECLINED + said
    return f"too long for the model: {said}" if any(mark in said.lower() or mark in kinds for mark in TOO_LONG) else ""


def _said(exc: Any, secret: Secret) -> tuple[str, list[str]]:
    """The server's message, without the secret, and the names it gives the error."""
    inner = exc.body.get("error", exc.body) if isinstance(exc.body, dict) else exc.body
    if not isinstance(inner, dict):
        return secret.hide(str(inner or type(exc).__name__)), []
    return secret.hide(str(inner.get("message") or type(exc).__name__)), [str(inner.get("code")), str(inner.get("type"))]


def seconds(retry_after: str, otherwise: float) -> float:
    """Seconds that a server asks for by a number or a date, never less than 0."""
    try:
        return min(DAY, max(0.0, float(retry_after)))
    except ValueError:
        pass
    try:
        return min(DAY, max(0.0, parsedate_to_datetime(retry_after).timestamp() - time()))
    except ValueError:
        return otherwise
