"""Chat completions as vLLM serves them: words in place of tokens, drawn by the seed."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.grading.servers.http import Reply, Request, Server

WORDS = ("yes", "no", "well", "perhaps", "once", "upon")


def error(status: int, message: str, code: str | None = None, kind: str = "invalid_request_error", **headers: str) -> Reply:
    return Reply(status, {"error": {"message": message, "type": kind, "code": code}}, {k.replace("_", "-"): v for k, v in headers.items()})


class ScriptedOpenAI(Server):
    """`key` is the one that it knows, if any; `models` are served by their names. `script(body, index) -> dict` overrides fields of a choice."""

    def __init__(self, key: str | None = None, models: tuple[str, ...] = ("tiny", "tiny-lora-3")) -> None:
        super().__init__()
        self.key, self.models = key, models
        self.ignores_n = False
        self.counts_cached = False
        self.script: Any = None

    def respond(self, request: Request) -> Reply:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return error(401, f"Incorrect API key provided: {request.headers.get('authorization')}", "invalid_api_key")
        body = request.body
        if (request.method, request.path) != ("POST", "/v1/chat/completions"):
            return error(404, f"no such route: {request.path}")
        if body["model"] not in self.models:
            return error(404, f"The model `{body['model']}` does not exist.", "model_not_found")
        if fault := self.fault(body):
            return fault
        n = 1 if self.ignores_n else body.get("n", 1)
        choices = [self.choice(body, index) for index in range(n)]
        read = sum(len(message["content"].split()) + 1 for message in body["messages"])
        written = sum(len((choice["message"]["content"] or "").split()) for choice in choices)
        usage: dict[str, Any] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        if self.counts_cached:
            usage["prompt_tokens_details"] = {"cached_tokens": read - 1}
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"] + "@2026-11",
            "choices": choices[::-1],
            "usage": usage,
        }
        return Reply(body=answer)

    def fault(self, body: dict[str, Any]) -> Reply | None:
        continues = body.get("continue_final_message", False)
        if continues and (body.get("add_generation_prompt", True) or body["messages"][-1]["role"] != "assistant"):
            return error(400, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
        if body.get("n", 1) > 1 and body.get("temperature") == 0:
            return error(400, f"n must be 1 when using greedy sampling, got {body['n']}.", kind="BadRequestError")
        if not -(2**63) <= body.get("seed", 0) < 2**63:
            return error(400, "seed out of range")
        if sum(len(message["content"]) for message in body["messages"]) > 50_000:
            return error(
                400, "This model's maximum context length is 8192 tokens. However, your request has 12345 input tokens.", kind="BadRequestError"
            )
        return None

    def choice(self, body: dict[str, Any], index: int) -> dict[str, Any]:
        seed = (body.get("seed", random.random()), index) if body.get("temperature", 1.0) else 0
        rng = random.Random(json.dumps([seed, body["messages"]]))
        words = rng.choices(WORDS, k=rng.randint(1, 16))
        cut = words[: body.get("max_tokens", body.get("max_completion_tokens", 16))]
        choice: dict[str, Any] = {
            "index": index,
            "message": {"role": "assistant", "content": " ".join(cut)},
            "finish_reason": "stop" if cut == words else "length",
            "logprobs": {"content": [{"token": word, "logprob": -1.5, "bytes": None, "top_logprobs": []} for word in cut]}
            if body.get("logprobs")
            else None,
        }
        return choice | (self.script(body, index) if self.script else {})
