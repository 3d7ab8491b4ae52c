"""What a language model is to a grader and to whoever samples a policy, and what the ones behind a server share."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from itertools import groupby
from json import JSONDecodeError
from time import time
from typing import Any, Protocol, TypeVar

from grading.errors import ConfigurationError, GraderError, Retry
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
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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

    Keep `ids` with the work, and hand them in again with the same requests, sampling and seed: `generate` first looks whether those batches hold
    the answers, and sends what none of them has. Answers are found by the content of their request and the seed, so requests may come in
    another order, and some of them may be gone. `ids` grows while `generate` runs, whether or not it raises; for a crash between the two,
    override `remember` to write an id down as soon as it is known.
    """

    def __init__(self, ids: Sequence[str] = ()) -> None:
        self.ids = list(ids)

    def remember(self, batch_id: str) -> None:
        """Called in the event loop when a batch was made, before anything waits for it."""
        self.ids.append(batch_id)


def derive_seed(*parts: int) -> int:
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
        """The value of an environment variable. Raises `ConfigurationError` where it is not set, without repeating what is no variable's name."""
        if not isinstance(variable, str) or not _VARIABLE.fullmatch(variable):
            raise ConfigurationError("api_key_env must be the name of an environment variable, and never the key itself")
        value = os.environ.get(variable, "").strip()
        if not value:
            raise ConfigurationError(f"the environment variable {variable} is not set: put the API key there")
        return cls(value)

    def __repr__(self) -> str:
        return "Secret(***)"

    def hide(self, text: str) -> str:
        """`text` without the secret: servers quote the keys that they do not know."""
        return text.replace(self.value, "***") if self.value else text


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


def encodable(text: str) -> str:
    """`text` as it can be sent: half a character (a lone surrogate) becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


async def ask(call: Awaitable[T], sdk: Any, server: str, secret: Secret) -> T:
    """What `call`, of the openai or the anthropic client `sdk`, answers; its errors are raised as ours, in words without the secret.

    `GraderError`, worth another try, after the server's own `retry-after` where there is one: 408, 409, 425, 429, 500 and above (529 among them),
    timeouts, dropped connections, and what is no answer at all. `Rejected`: 400, 413, 422. `ConfigurationError`: other statuses, and 429 for
    want of money.
    """
    try:
        return await call
    except sdk.APIStatusError as exc:
        said, kinds = _said(exc)
        raise status_error(exc.status_code, said, kinds, server, secret, exc.response.headers.get("retry-after", "")) from None
    except sdk.APITimeoutError:
        raise GraderError(f"{server} did not answer in time", retry=Retry.after(WAIT)) from None
    except sdk.APIConnectionError:
        raise GraderError(f"{server} could not be reached, or hung up", retry=Retry.after(WAIT)) from None
    except (sdk.APIError, JSONDecodeError) as exc:
        raise GraderError(f"{server} answered what is no answer: {type(exc).__name__}", retry=Retry.after(WAIT)) from None


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


def _said(exc: Any) -> tuple[str, list[str]]:
    """The server's message, and the names it gives the error."""
    inner = exc.body.get("error", exc.body) if isinstance(exc.body, dict) else exc.body
    if not isinstance(inner, dict):
        return str(inner or type(exc).__name__), []
    return str(inner.get("message") or type(exc).__name__), [str(inner.get("code")), str(inner.get("type"))]


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
