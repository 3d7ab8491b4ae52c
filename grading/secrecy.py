"""Keys, tokens and passwords: told by the names they go under, and hidden by their values."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

from grading.types import Verdict

SHOWN = "***"
SHORTEST = 8  # characters of a value that is hidden: what is shorter is no secret, and would be found in any text
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(
    r"(?i:(?:^|[^a-z0-9])(?:key|secret|token|password|passwd|passphrase|credentials?|authorization|auth|bearer|cookie)$|api_?key$)"
    r"|[a-z](?:Key|Secret|Token|Password|Credentials?|Authorization)$"
)


def is_secret(name: str) -> bool:
    """Whether an option or a variable of this name holds a secret: api_key, apiKey, X-Api-Key, HF_TOKEN, client_secret, ..."""
    return _NAME.search(name) is not None


def without_secrets(value: Any) -> Any:
    """`value` without the dict entries whose key names a secret, at any depth, and those that should name an environment variable and do not."""
    if isinstance(value, Mapping):
        return {key: without_secrets(item) for key, item in value.items() if not is_secret(str(key)) and not _is_misplaced(str(key), item)}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return value


def hiding(*options: Any, environment: bool = True) -> Callable[[str], str]:
    """A function that puts `***` in a text for what is secret in `options` (dicts at any depth) and, unless told not to, in the environment.

    What options name by `..._env` is secret too. Values are also found where they stand quoted or escaped.
    """
    values = {*_within(options), *(_of_environment() if environment else ())}
    forms = sorted({form for value in values if len(value) >= SHORTEST for form in _forms(value)}, key=len, reverse=True)

    def hide(text: str) -> str:
        for form in forms:
            text = text.replace(form, SHOWN)
        return text

    return hide


def hush(exc: BaseException, hide: Callable[[str], str]) -> None:
    """`hide` in the words of an exception and of all that led to it. What it keeps elsewhere stays as it is."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [exc]
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            found.args = tuple(hide(part) if isinstance(part, str) else part for part in found.args)
            waiting += [found.__cause__, found.__context__, *getattr(found, "exceptions", ())]


def clean(verdict: Verdict, hide: Callable[[str], str]) -> Verdict:
    """`hide` in the words of a verdict: there are servers that quote a key in an answer."""
    return replace(
        verdict,
        critique=hide(verdict.critique),
        deliberation=hide(verdict.deliberation),
        raw=hide(verdict.raw),
        unscored_reason=hide(verdict.unscored_reason),
        models=tuple(map(hide, verdict.models)),
        samples=tuple(clean(sample, hide) for sample in verdict.samples),
    )


def _of_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        secret = value.strip() if is_secret(name) else _password(value) if name.endswith("_URL") else ""
        if not secret.isalpha():  # a word is the password of somebody's own machine, and stands in texts for other reasons
            yield secret


def _within(value: Any, *, secret: bool = False) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if str(key).endswith("_env") and isinstance(item, str):
                yield os.environ.get(item, "").strip()
            yield from _within(item, secret=secret or is_secret(str(key)) or _is_misplaced(str(key), item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _within(item, secret=secret)
    elif secret and isinstance(value, str):
        yield value.strip()


def _is_misplaced(key: str, item: Any) -> bool:
    return key.endswith("_env") and isinstance(item, str) and VARIABLE.fullmatch(item) is None


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _forms(value: str) -> set[str]:
    return {value, html.escape(value), json.dumps(value)[1:-1], repr(value)[1:-1], quote(value, safe="")}
