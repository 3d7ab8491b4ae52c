"""Making any text fit for PostgreSQL."""

from __future__ import annotations

import re
from typing import Any

REPLACEMENT = "\ufffd"
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(value: Any) -> Any:
    """`value` with what PostgreSQL cannot hold (NUL characters, lone surrogates) replaced by U+FFFD, in texts, lists and dicts alike.

    A language model can write any bytes; one such character must not cost the whole row.
    """
    if isinstance(value, str):
        return UNSTORABLE.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value
