"""What graders and policies are asked, and what is taken from a policy's answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from grading.errors import ConfigurationError
from grading.tags import NEUTRAL, blocks, neutralise, unclosed
from grading.types import Case, Message, TraceFormat

_GRADING = re.compile(r"\{(INSTRUCTIONS|CONTENT)\}")
_OWN_TAG = re.compile(r"<\s*+/?\s*+([^\W\d][\w.:-]*)")
_FILLED = re.compile(r"\{(INSTRUCTIONS|CONTENT|EXAMPLES)\}")
_RULE = re.compile(r"([^\w\s<>{}])\1{2,}")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class GradingPrompt:
    """A text that asks for a verdict, with {CONTENT} (required) and {INSTRUCTIONS} standing for the case; other braces mean nothing.

    `turns` are earlier turns (user, assistant) of the conversation that ends in the text. They are complete: no placeholder in them is filled.
    Raises `ConfigurationError` where {CONTENT} is missing.
    """

    text: str
    turns: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, entry: Any) -> GradingPrompt:
        """The prompt that an entry of a grader's `prompts` stands for: a text, or {"text": ..., "turns": [[user, assistant], ...]}.

        Raises `ConfigurationError`.
        """
        if isinstance(entry, str):
            return cls(entry)
        try:
            text, turns = entry["text"], tuple((user, assistant) for user, assistant in entry["turns"])
            fits = len(entry) == 2 and all(isinstance(words, str) for words in (text, *(words for turn in turns for words in turn)))
        except (TypeError, KeyError, ValueError):
            fits = False
        if not fits:
            raise ConfigurationError(f"a grading prompt is a text, or text and turns, which are pairs of texts, not {entry!r}"[:300])
        return cls(text, turns)

    def __post_init__(self) -> None:
        if "{CONTENT}" not in self.text:
            raise ConfigurationError("the grading prompt has no {CONTENT}: put it where the text to judge belongs")

    def render(self, case: Case, fmt: TraceFormat) -> str:
        """The text for one case, which can neither bring its own verdict along nor end the part of the prompt that it stands in (`fenced`).
        Placeholders in the case stay as they are.
        """
        values = {"INSTRUCTIONS": fenced(case.instructions, self.text, fmt), "CONTENT": fenced(case.content, self.text, fmt)}
        return _GRADING.sub(lambda match: values[match[1]], self.text)

    def messages(self, case: Case, fmt: TraceFormat) -> list[Message]:
        """The conversation that asks for a verdict on one case: the turns, and then the text as it is rendered."""
        earlier = [Message(role, words) for turn in self.turns for role, words in zip(("user", "assistant"), turn, strict=True)]
        return [*earlier, Message("user", self.render(case, fmt))]

    @property
    def digest(self) -> str:
        """SHA-256 of the text in UTF-8, as 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


def fenced(text: str, template: str, fmt: TraceFormat) -> str:
    """`text` as it may stand within `template`: it can forge no part of a trace, and end nothing that the template puts around it.

    Neutralised are the tags of `fmt`, all tags that the template itself has (`<story>{CONTENT}</story>`), marks of turns, and rules like the
    ``` or --- that the template has beside a placeholder, which are spaced out.
    """
    tags, rules = _fences(template)
    return rules.sub(lambda match: " ".join(match[0]), neutralise(text, (*fmt.tags, *tags)))


def inert(text: str) -> str:
    """`text` as words that may become part of a grading prompt: its placeholders are spaced out, and its tags neutralised, which the prompt would
    then take for its own."""
    return _FILLED.sub(lambda match: f"{{ {match[1]} }}", _OWN_TAG.sub(lambda match: NEUTRAL["<"] + match[0][1:], text))


def task_digest(instructions: str) -> str:
    """What a task goes by in a grader's `by_task`: SHA-256 of its instructions in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(instructions.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=256)
def _fences(prompt: str) -> tuple[tuple[str, ...], re.Pattern[str]]:
    """What marks off the case in a prompt: the names of its tags, and its rules of three or more equal signs next to a placeholder."""
    found = [match.span() for match in _FILLED.finditer(prompt)]
    beside = "\n".join(
        line for start, end in found for line in (prompt[:start].rstrip().rpartition("\n")[2], prompt[end:].lstrip().partition("\n")[0])
    )
    signs = sorted({match[1] for match in _RULE.finditer(beside)})
    return tuple(dict.fromkeys(_OWN_TAG.findall(prompt))), re.compile("|".join(re.escape(sign) + "{3,}" for sign in signs) or r"(?!)")


def placeholders(template: str) -> list[str]:
    """The names of the upper-case placeholders of `template`, each once, in order."""
    return [name for name in dict.fromkeys(_PLACEHOLDER.findall(template)) if name.isupper()]


def fill(template: str, variables: Mapping[str, object]) -> str:
    """`template` with each {NAME} replaced by the variable NAME, once: braces in values stay as they are.

    Lower-case {name} is replaced if there is such a variable and otherwise left alone, as in code or formulas. Raises `ConfigurationError`
    naming the upper-case placeholders that no variable fills.
    """
    missing = sorted(name for name in placeholders(template) if name not in variables)
    if missing:
        raise ConfigurationError(f"the prompt needs {', '.join(missing)}; the variables given are {', '.join(sorted(variables)) or 'none'}")
    return _PLACEHOLDER.sub(lambda match: str(variables[match[1]]) if match[1] in variables else match[0], template)


def extract(completion: str, tag: str) -> str:
    """The text to judge in a policy's completion, stripped: the last `tag` block, or all of it where `tag` is "".

    A block that was begun and not closed counts up to the end. A completion without the tag holds no text to judge: "".
    """
    if not tag:
        return completion.strip()
    closed = blocks(completion, tag)
    return (closed[-1] if closed else unclosed(completion, tag) or "").strip()
