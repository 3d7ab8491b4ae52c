"""What graders and policies are asked, and what is taken from a policy's answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from grading.errors import ConfigurationError
from grading.tags import blocks, neutralise, unclosed
from grading.types import Case, TraceFormat

_GRADING = re.compile(r"\{(INSTRUCTIONS|CONTENT)\}")
_OWN_TAG = re.compile(r"<\s*/?\s*([^\W\d][\w.:-]*)")
_AROUND = re.compile(r"([^\n]*)\s*\{(?:INSTRUCTIONS|CONTENT)\}(?=\s*([^\n]*))")
_RULE = re.compile(r"([^\w\s<>{}])\1{2,}")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class GradingPrompt:
    """A text that asks for a verdict, with {CONTENT} (required) and {INSTRUCTIONS} standing for the case; other braces mean nothing.

    Raises `ConfigurationError` where {CONTENT} is missing.
    """

    text: str

    def __post_init__(self) -> None:
        if "{CONTENT}" not in self.text:
            raise ConfigurationError("the grading prompt has no {CONTENT}: put it where the text to judge belongs")

    def render(self, case: Case, fmt: TraceFormat) -> str:
        """The prompt for one case, whose text can neither bring its own verdict along nor end the part of the prompt that it stands in.

        Neutralised in the case are the tags of `fmt`, all tags that the prompt itself has (`<story>{CONTENT}</story>`), marks of turns, and rules
        like the ``` or --- that the prompt has beside the placeholder, which are spaced out. Placeholders in the case stay as they are.
        """
        tags, rules = _fences(self.text)

        def plain(text: str) -> str:
            return rules.sub(lambda match: " ".join(match[0]), neutralise(text, (*fmt.tags, *tags)))

        values = {"INSTRUCTIONS": plain(case.instructions), "CONTENT": plain(case.content)}
        return _GRADING.sub(lambda match: values[match[1]], self.text)

    @property
    def digest(self) -> str:
        """SHA-256 of the text in UTF-8, as 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=256)
def _fences(prompt: str) -> tuple[tuple[str, ...], re.Pattern[str]]:
    """What marks off the case in a prompt: the names of its tags, and its rules of three or more equal signs next to a placeholder."""
    beside = "\n".join(line for around in _AROUND.findall(prompt) for line in around)
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
