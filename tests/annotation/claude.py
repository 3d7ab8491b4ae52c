"""Claude as an expert: the real client against a server on this machine, whose answers are traces. Needs no Django: settings import it."""

from __future__ import annotations

from collections import Counter
from threading import Event
from typing import Any

from tests.grading.servers.anthropic import ScriptedAnthropic, blocks, error
from tests.grading.servers.http import SLOW, Reply, Request

KEY = "sk-test-secret"
PROMPT = "Grade the story.\n\n{INSTRUCTIONS}\n\n{CONTENT}"
MESSAGES, BATCHES = "/v1/messages", "/v1/messages/batches"


class Claude(ScriptedAnthropic):
    """`down`: it answers nothing but 529. `hold`: after it has done what such a request asks for, (method, path begins, path ends), no answer comes
    and `held` is set."""

    def __init__(self) -> None:
        super().__init__(KEY)
        self.down = False
        self.hold: tuple[str, str, str] | None = None
        self.held = Event()
        self.answered: list[tuple[str, str]] = []  # (text, idempotency key) of each message that was answered
        self.script = lambda params: {
            "content": [{"type": "text", "text": "<critique>Well.</critique><score>50</score>"}],
            "stop_reason": "end_turn",
        }

    def respond(self, request: Request) -> Reply:
        if self.down:
            return error(529, "Overloaded")
        reply = super().respond(request)
        if (request.method, request.path) == ("POST", MESSAGES):
            self.answered.append((text_of(request.body), request.headers.get("idempotency-key", "")))
        if self.hold and request.method == self.hold[0] and request.path.startswith(self.hold[1]) and request.path.endswith(self.hold[2]):
            self.held.set()
            return SLOW
        return reply

    def posted(self) -> int:
        return sum(request.method == "POST" for request in self.seen)

    def sent_in_batches(self) -> Counter[str]:
        """How often each text was put into a batch."""
        return Counter(text_of(entry["params"]) for batch in self.batches.values() for entry in batch.entries)


def text_of(params: dict[str, Any]) -> str:
    """The story that a request is about: the last line."""
    return blocks(params)[-1]["text"].strip().splitlines()[-1]


def entry(url: str, *, batch: bool, prompts: int = 1, **options: Any) -> dict[str, Any]:
    """For settings.EXPERTS."""
    model = {"model": "claude-opus-5-5", "base_url": url, "timeout": 30.0, "max_retries": 0, "batch": batch, **options}
    if batch:
        model = {"poll_seconds": 0.2} | model
    return {
        "BACKEND": "grading.graders.Grader",
        "OPTIONS": {
            "prompts": [f"{number}. {PROMPT}" for number in range(prompts)],
            "model": {"backend": "grading.models.anthropic.AnthropicModel", "options": model},
        },
    }
