"""Judges and language models by dotted path: `{"backend": "package.module.Class", "options": {...}}`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from grading.errors import ConfigurationError


def load(config: dict[str, Any]) -> Any:
    """Make the object that `config` names: the class at `backend`, called with `options` as keywords.

    Raises `ConfigurationError` naming what is wrong: no dotted path, no such module or class, or options that it does not take.
    """
    path = config.get("backend")
    if not isinstance(path, str) or "." not in path:
        raise ConfigurationError(f"backend must be a dotted path to a class, not {path!r}")
    module_name, _, class_name = path.rpartition(".")
    try:
        factory = getattr(import_module(module_name), class_name)
    except ImportError as exc:
        raise ConfigurationError(f"cannot import {path}: {exc}") from exc
    except AttributeError as exc:
        raise ConfigurationError(f"{module_name} has no {class_name}") from exc
    try:
        return factory(**config.get("options", {}))
    except TypeError as exc:
        raise ConfigurationError(f"{path} does not take these options: {exc}") from exc
