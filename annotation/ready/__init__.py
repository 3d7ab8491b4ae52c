"""Domains that come with Touchstone: each is a folder with domain.toml (its fields) and prompts.jsonl (its prompts, with their splits)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class ReadyDomain:
    """`fields` are those of `annotation.models.Domain`, without the slug; `prompts` is a file of JSON lines."""

    slug: str
    fields: dict[str, Any]
    prompts: Path


def names() -> list[str]:
    """The slugs of the domains that there are."""
    return sorted(path.parent.name for path in FOLDER.glob("*/domain.toml"))


def read(name: str) -> ReadyDomain:
    """The domain called `name`. Raises `KeyError` where there is none."""
    if name not in names():
        raise KeyError(name)
    fields = tomllib.loads((FOLDER / name / "domain.toml").read_text(encoding="utf-8"))
    fields = {key: value.strip() if isinstance(value, str) else value for key, value in fields.items()}
    return ReadyDomain(name, fields, FOLDER / name / "prompts.jsonl")
