"""A language model behind a server that speaks OpenAI's chat completions: vLLM, and everything that does as it does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from grading.errors import ConfigurationError, GraderError, Retry
from grading.limits import Limiter
from grading.models.base import (
    CAPABILITIES,
    DECLINED,
    LOGPROBS,
    PREFILL,
    SEED,
    TEMPERATURE,
    WAIT,
    Calls,
    N,
    Secret,
    ask,
    check,
    check_address,
    check_options,
    derive_seed,
    encodable,
    idempotency,
    paced,
    times_before,
    tokens_of,
)
from grading.types import Completion, Message, Sampling, Usage

SERVERS = {"vllm": frozenset({N, SEED, TEMPERATURE, LOGPROBS, PREFILL}), "other": frozenset({N, TEMPERATURE, LOGPROBS})}
# What a request does not say, vLLM takes from the checkpoint (Qwen3: top_k 20, top_p 0.95). These are its values for "nothing of the kind".
PLAIN_SAMPLING = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
OURS = {"model", "messages", "n", "seed", "temperature", "max_tokens", "max_completion_tokens", "logprobs", "stream"}
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
STOPS = {"stop": "end", "length": "length", "content_filter": "refused"}
SPECIALS = re.compile(r"<[|\uff5c][^\s<>]{1,80}[|\uff5c]>|</?(?:s|bos|eos|start_of_turn|end_of_turn)>|\[/?(?:INST|SYSTEM_PROMPT)\]")
NO_KEY = "none"  # the client wants one, and would look for one that is meant for another server


class OpenAIModel:
    """The model called `model` at `base_url`, such as http://127.0.0.1:8000/v1. A LoRA adapter that vLLM serves is a model of its own by name.

    `api_key_env` names the environment variable that holds the key; without it none is sent. `server` is "vllm", which is promised n, seed,
    temperature, logprobs and prefilled turns and told to sample plainly whatever the checkpoint recommends, or "other" for n, temperature and
    logprobs alone; `capabilities` lists what another server does, where that is not the same. `extra` is put into every request as it is
    (`{"chat_template_kwargs": {"enable_thinking": False}}`, `{"top_p": 0.95}`) and `max_tokens_field` is the name that the server has for the limit
    (OpenAI's own: max_completion_tokens). `max_concurrency` requests are under way at a time in one call of `generate`.

    All n samples of a request are asked for at once; where fewer choices come back the rest are asked for one by one, each with a seed of its
    own. Reasoning that the server keeps apart is not part of the text. Repeatable up to what the server's batching does to rounding.

    What is tried again: the client itself does so `max_retries` times within the call, after half a second and then longer or as long as
    `retry-after` says (at most two minutes), for 408, 409, 429, 5xx, a dropped connection and no answer within `timeout` seconds. What is left
    is a `GraderError` that says when to come back.

    `requests_per_minute` and `tokens_per_minute` (read and written together; None: no limit) are kept by all who ask under the same
    `limit_name`, by default this model at this server: within a process, and, where Touchstone's own processes ask, between them.

    Raises `ConfigurationError` for options that will not do.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key_env: str | None = None,
        *,
        server: str = "vllm",
        capabilities: Sequence[str] | None = None,
        max_concurrency: int = 64,
        timeout: float = 600.0,
        max_retries: int = 2,
        max_tokens_field: str = "max_tokens",
        extra: Mapping[str, Any] | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        limit_name: str | None = None,
    ) -> None:
        check_address(base_url)
        if server not in SERVERS:
            raise ConfigurationError(f"server must be one of {', '.join(SERVERS)}, not {server!r}")
        if unknown := set(capabilities or ()) - (CAPABILITIES - {"batch"}):
            raise ConfigurationError(f"capabilities are of n, seed, temperature, logprobs and prefill, not {', '.join(sorted(unknown))}")
        if taken := OURS & set(extra or ()):
            raise ConfigurationError(f"extra must not hold {', '.join(sorted(taken))}: sampling and the other options say that")
        check_options(max_concurrency=max_concurrency, timeout=timeout, max_retries=max_retries)
        self.base_url, self.model, self.server = base_url, model, server
        self.capabilities = SERVERS[server] if capabilities is None else frozenset(capabilities)
        self.max_concurrency, self.timeout, self.max_retries = max_concurrency, timeout, max_retries
        self.max_tokens_field = max_tokens_field
        self.extra = (PLAIN_SAMPLING if server == "vllm" else {}) | dict(extra or {})
        self.secret = Secret.read(api_key_env) if api_key_env is not None else Secret("")
        self.limiter = Limiter(limit_name or f"{base_url.rstrip('/')} {model}", requests_per_minute, tokens_per_minute)
        self._one_by_one = False  # whether the server was seen to ignore n

    async def generate(self, requests: Sequence[Sequence[Message]], sampling: Sampling, *, seed: int) -> list[list[Completion]]:
        """See `LanguageModel.generate`. A text that is too long for the model is not taken, and the others are."""
        check(self, requests, sampling)
        sdk = library()
        # A client for each call: its connections belong to the event loop, and callers have more than one.
        async with sdk.AsyncOpenAI(
            api_key=self.secret.value or NO_KEY,
            base_url=self.base_url,
            timeout=self.timeout,
            max_retries=self.max_retries,
            http_client=paced(sdk, self.limiter),
        ) as client:
            calls = Calls(self.max_concurrency)
            times = times_before(requests)
            jobs = [partial(self._answer, sdk, client, requests, i, sampling, derive_seed(seed, i), times[i]) for i in range(len(requests))]
            return calls.settle([[outcome] for outcome in await calls.run(jobs)], sampling.n)

    async def _answer(
        self, sdk: Any, client: Any, requests: Sequence[Sequence[Message]], place: int, sampling: Sampling, seed: int, times: int
    ) -> list[Completion]:
        n = sampling.n if sampling.temperature else 1  # greedy samples are all the same, and vLLM takes no more than one
        messages = requests[place]
        found: list[Completion] = []
        while len(found) < n:
            wanted = 1 if self._one_by_one else n - len(found)
            request = self.request(messages, sampling, wanted, derive_seed(seed, len(found)) if found else seed)
            turn = await self.limiter.acquire(tokens=self.limiter.reckon(tokens_of(messages), sampling.max_tokens * wanted))
            # By the path, and as plain JSON: the client's own method walks through the whole request once more and makes a model of each part of the
            # answer, which is a good part of what asking costs.
            options = {"headers": idempotency(request, times, len(found))}
            call = client.post("/chat/completions", cast_to=object, body=request, options=options)
            answer = await ask(call, sdk, self.base_url, self.secret)
            try:
                got = completions_of(answer)
            except (KeyError, TypeError, AttributeError) as exc:
                raise GraderError(f"{self.base_url} answered with what is no chat completion ({exc!r})", retry=Retry.after(WAIT)) from exc
            if not got:
                raise GraderError(f"{self.base_url} answered without a choice", retry=Retry.after(WAIT))
            await turn.used(sum(one.usage.read_tokens for one in got), sum(one.usage.output_tokens for one in got))
            self._one_by_one = self._one_by_one or len(got) < wanted
            found += got[:wanted]
        return found + [replace(found[0], usage=Usage())] * (sampling.n - n)

    def request(self, messages: Sequence[Message], sampling: Sampling, n: int, seed: int) -> dict[str, Any]:
        """The body of a request for `n` choices of one conversation."""
        if messages[-1].role == "assistant" and not messages[-1].content.strip():
            messages = messages[:-1]  # a turn begun without words is yet to begin; chat templates would close it
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role, "content": plain(message.content)} for message in messages],
        }
        request |= {self.max_tokens_field: sampling.max_tokens} | self.extra
        if n > 1:
            request["n"] = n
        if TEMPERATURE in self.capabilities:
            request["temperature"] = sampling.temperature
        if SEED in self.capabilities:
            request["seed"] = seed >> 32  # 31 bits: there are servers that have no room for more
        if sampling.logprobs:
            request["logprobs"] = True
        if messages[-1].role == "assistant":
            request |= CONTINUE
        return request


def plain(text: str) -> str:
    """`text` as it can be sent, with a space in what tokenizers may take for a special token: nobody may end a turn from inside one.

    Servers read such tokens wherever they are spelt out. Which ones a model has they do not tell, so these are the spellings in use.
    """
    return SPECIALS.sub(lambda match: f"{match[0][0]} {match[0][1:]}", encodable(text))


def completions_of(response: Any) -> list[Completion]:
    """The choices of a chat completion as JSON, in order; none where the answer is no chat completion at all."""
    if not isinstance(response, dict):
        return []
    choices = sorted(response.get("choices") or [], key=lambda choice: choice["index"])
    usage = response.get("usage") or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    each, more = divmod(usage.get("completion_tokens") or 0, len(choices) or 1)
    found = []
    for place, choice in enumerate(choices):
        prompt = (max(0, (usage.get("prompt_tokens") or 0) - cached), cached) if place == 0 else (0, 0)
        cost = Usage(prompt[0], each + (place < more), prompt[1])
        message = choice["message"]
        declined = message.get("refusal")
        stop = "refused" if declined else STOPS.get(choice["finish_reason"], str(choice["finish_reason"]))
        failure = DECLINED + (declined or "the content filter stopped the answer") if stop == "refused" else ""
        text, model = message.get("content") or "", response.get("model") or ""
        tokens = tuple(choice.get("token_ids") or ())  # where vLLM is asked for them by `return_token_ids`
        found.append(Completion(text, stop == "end", cost, model=model, stop=stop, failure=failure, logprobs=_logprobs(choice), tokens=tokens))
    return found


def _logprobs(choice: dict[str, Any]) -> tuple[tuple[str, float], ...] | None:
    content = (choice.get("logprobs") or {}).get("content")
    return None if content is None else tuple((token["token"], token["logprob"]) for token in content)


def library() -> Any:
    try:
        import openai
    except ImportError as exc:
        raise ConfigurationError(f"OpenAIModel needs the openai package: pip install -r requirements/base.txt ({exc})") from exc
    return openai
