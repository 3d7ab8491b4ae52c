"""The secret key of a local installation: made once, kept where only its owner reads it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from config.embedded import EmbeddedError, make_home
from config.env import Environment


def kept_secret(home: Path, env: Environment) -> str:
    """The key kept in `home`, made if there is none. Empty, with a problem noted, where it can be neither read nor made."""
    path = home / "secret-key"
    try:
        make_home(home)
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(64))
        except FileExistsError:
            pass
        return _read(path)
    except EmbeddedError as exc:
        env.wrong("TOUCHSTONE_HOME", f"cannot be used: {exc}", "Or set DATABASE_URL and REDIS_URL to servers of your own.", "config.E004")
    except OSError as exc:
        env.wrong(
            "TOUCHSTONE_HOME", f"holds a secret key that cannot be read: {exc}", f"Make {path} readable, or set TOUCHSTONE_SECRET_KEY.", "config.E004"
        )
    return ""


def _read(path: Path) -> str:
    """Another process may have made the file and not yet written it: an empty one is looked at again."""
    for _ in range(1000):
        if key := path.read_text().strip():
            return key
    raise OSError(f"{path} is empty")
