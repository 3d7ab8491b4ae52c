"""Anthropic's Messages and Message Batches: words for tokens, another answer each time, a prompt cache, batches whose fate is written out."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from typing import Any

from tests.grading.servers.http import Reply, Request, Server

FIELDS = {"model", "max_tokens", "messages", "system", "thinking", "output_config", "metadata", "stop_sequences", "cache_control"}
STATUS = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def error(status: int, message: str = "", **headers: str) -> Reply:
    kind = STATUS.get(status, "overloaded_error" if status == 529 else "api_error")
    body = {"type": "error", "error": {"type": kind, "message": message or kind}, "request_id": "req_1"}
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class Batch:
    id: str
    entries: list[dict[str, Any]]
    results: list[dict[str, Any]]
    looks: int = 0
    not_found: int = 0


class ScriptedAnthropic(Server):
    """`script(params) -> dict` overrides fields of a message, `fate(entry, number of the batch)` says how a batch's entry ends.

    `looks` is how often a batch is looked at before it has ended, and `not_found` how often it is not there at first.
    """

    def __init__(self, key: str = "sk-test-secret") -> None:
        super().__init__()
        self.key = key
        self.script: Any = None
        self.fate: Any = None
        self.looks = self.not_found = 0
        self.loses_creation = self.archived = False
        self.after_creation: list[Reply] = []  # faults that follow when a batch was made
        self.cut_results = 0  # how often results end in the middle
        self.batches: dict[str, Batch] = {}
        self.cache: set[str] = set()
        self.rng = random.Random(0)

    def respond(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return error(401, f"invalid bearer token {request.headers.get('authorization')}")
        if "anthropic-version" not in request.headers:
            return error(400, "anthropic-version: header is required")
        match [request.method, *request.path.strip("/").split("/")]:
            case ["POST", "v1", "messages"]:
                return problem(request.body) or Reply(body=self.message(request.body))
            case ["POST", "v1", "messages", "batches"]:
                return self.create(request.body)
            case ["GET", "v1", "messages", "batches"]:
                found = [self.state(batch) for batch in reversed(self.batches.values())]
                return Reply(body={"data": found, "has_more": False, "first_id": None, "last_id": None})
            case ["GET", "v1", "messages", "batches", name, *rest] if name in self.batches:
                return self.results(self.batches[name]) if rest else self.look(self.batches[name])
        return error(404, f"no such thing: {request.path}")

    def message(self, params: dict[str, Any]) -> dict[str, Any]:
        words = self.rng.choices(("yes", "no", "well", "perhaps"), k=self.rng.randint(2, 16))
        cut = words[: params["max_tokens"]]
        thought = [{"type": "thinking", "thinking": "hm", "signature": "s"}] if params.get("thinking", {}).get("type") == "adaptive" else []
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": params["model"] + "-20261101",
            "content": [*thought, {"type": "text", "text": " ".join(cut)}],
            "stop_reason": "end_turn" if cut == words else "max_tokens",
            "stop_sequence": None,
            "stop_details": None,
            "usage": self.usage(params) | {"output_tokens": len(cut)},
        }
        return message | (self.script(params) if self.script else {})

    def usage(self, params: dict[str, Any]) -> dict[str, int]:
        """Blocks up to the last mark that is known are read from the cache, those up to the last mark are written, the others cost full price."""
        words, key, read, marked = 0, "", 0, 0
        for block in blocks(params):
            words += len(block["text"].split())
            key += "\0" + block["text"]
            if "cache_control" in block:
                marked = words
                read = words if key in self.cache else read
                self.cache.add(key)
        return {"input_tokens": words - marked, "cache_read_input_tokens": read, "cache_creation_input_tokens": marked - read}

    def create(self, body: dict[str, Any]) -> Reply:
        entries = body["requests"]
        names = [entry["custom_id"] for entry in entries]
        if len(set(names)) < len(names) or not all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names):
            return error(400, "custom_id must be unique and of 1 to 64 characters")
        number = len(self.batches)
        batch = Batch(f"msgbatch_{number}", entries, [self.end(entry, number) for entry in entries], self.looks, self.not_found)
        self.batches[batch.id] = batch
        self.faults += self.after_creation
        return Reply(hang_up=0) if self.loses_creation else Reply(body=self.state(batch))

    def end(self, entry: dict[str, Any], number: int) -> dict[str, Any]:
        """Its result: it succeeded, is "expired" or "canceled", or failed by the type of an error."""
        fate = self.fate(entry, number) if self.fate else "succeeded"
        if fate in ("expired", "canceled"):
            return {"type": fate}
        if fault := problem(entry["params"]):
            return {"type": "errored", "error": fault.body}
        if fate != "succeeded":
            return {"type": "errored", "error": {"type": "error", "error": {"type": fate, "message": f"it is {fate}"}, "request_id": None}}
        return {"type": "succeeded", "message": self.message(entry["params"])}

    def look(self, batch: Batch) -> Reply:
        if batch.not_found:
            batch.not_found -= 1
            return error(404, "batch not found")
        batch.looks -= 1
        return Reply(body=self.state(batch))

    def state(self, batch: Batch) -> dict[str, Any]:
        ended = batch.looks < 0
        kinds = [result["type"] for result in batch.results]
        counts = {kind: kinds.count(kind) if ended else 0 for kind in ("succeeded", "errored", "canceled", "expired")}
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts | {"processing": 0 if ended else len(kinds)},
            "created_at": "2100-01-01T00:00:00Z",
            "expires_at": "2100-01-02T00:00:00Z",
            "ended_at": None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"{self.url}/v1/messages/batches/{batch.id}/results" if ended and not self.archived else None,
        }

    def results(self, batch: Batch) -> Reply:
        """In another order than they were asked in."""
        lines = [json.dumps({"custom_id": entry["custom_id"], "result": result}) for entry, result in zip(batch.entries, batch.results, strict=True)]
        data = "".join(line + "\n" for line in reversed(lines)).encode()
        cut = len(data) // 2 if self.cut_results else None
        self.cut_results -= bool(self.cut_results)
        return Reply(body=data, headers={"content-type": "application/x-jsonl"}, hang_up=cut)


def blocks(params: dict[str, Any]) -> list[dict[str, Any]]:
    contents = [*([params["system"]] if "system" in params else []), *(message["content"] for message in params["messages"])]
    return [block for content in contents for block in ([{"type": "text", "text": content}] if isinstance(content, str) else content)]


def problem(params: dict[str, Any]) -> Reply | None:
    """Why the API would answer 400."""
    if unknown := set(params) - FIELDS:
        return error(400, f"{', '.join(sorted(unknown))}: Extra inputs are not permitted")
    roles = [message["role"] for message in params["messages"]]
    if roles[-1] == "assistant":
        return error(400, "This model does not support assistant message prefill. The conversation must end with a user message.")
    if any(not block["text"].strip() for block in blocks(params)):
        return error(400, "messages: text content blocks must contain non-whitespace text")
    if sum("cache_control" in block for block in blocks(params)) > 4:
        return error(400, "A maximum of 4 blocks with cache_control may be provided.")
    if params.get("thinking", {}).get("type") not in (None, "adaptive", "disabled"):
        return error(400, "thinking.type.enabled is not supported for this model")
    if sum(len(block["text"]) for block in blocks(params)) > 1_000_000:
        return error(400, "prompt is too long: 250000 tokens > 200000 maximum")
    return None
