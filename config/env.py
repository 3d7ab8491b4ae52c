"""Typed readers of environment variables.

A reader never raises: what cannot be read becomes a `Problem` and the default is used, so that `manage.py check` can name every
problem at once (config.E001). Servers refuse to start while there are any: `Environment.require`.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Problem:
    """`name` is the variable, `wrong` what is the matter with it, `mend` what to do; `id` is the system check's."""

    name: str
    wrong: str
    mend: str
    id: str = "config.E001"


class Environment:
    """Reads `values` (os.environ). An empty value counts as not set."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.problems: list[Problem] = []

    def given(self, name: str) -> bool:
        return bool(self.values.get(name, "").strip())

    def text(self, name: str, default: str = "") -> str:
        return self.values.get(name, "").strip() or default

    def flag(self, name: str, default: bool) -> bool:
        value = self.text(name).lower()
        if value in ("", *TRUE, *FALSE):
            return value in TRUE if value else default
        self.wrong(name, f"is {value!r}, which is neither yes nor no", f"Use one of {', '.join(TRUE + FALSE)}.")
        return default

    def whole(self, name: str, default: int, *, least: int = 0, most: int = 2**31) -> int:
        """A whole number in [least, most]."""
        value = self.text(name)
        try:
            number = int(value) if value else default
        except ValueError:
            self.wrong(name, f"is {value!r}, which is not a whole number", f"Use a number from {least} to {most}.")
            return default
        if least <= number <= most:
            return number
        self.wrong(name, f"is {number}, which is out of range", f"Use a number from {least} to {most}.")
        return default

    def words(self, name: str, default: tuple[str, ...] = ()) -> list[str]:
        """Words separated by commas."""
        return [word.strip() for word in self.values.get(name, "").split(",") if word.strip()] or list(default)

    def url(self, name: str, default: str, schemes: tuple[str, ...]) -> str:
        """A URL with one of `schemes`. What it holds is never repeated in a problem: it may carry a password."""
        value = self.text(name)
        if not value:
            return default
        try:
            if urlsplit(value).scheme in schemes:
                return value
        except ValueError:
            pass
        self.wrong(name, "is not a URL that can be used here", f"Start it with {' or '.join(f'{scheme}://' for scheme in schemes)}.")
        return default

    def path(self, name: str, default: Path) -> Path:
        """An absolute folder; `~` is the user's home. It need not exist."""
        value = self.text(name)
        path = Path(value).expanduser() if value else default
        if path.is_absolute():
            return path
        self.wrong(name, f"is {value!r}, which depends on where the command is started", "Use an absolute path.")
        return default

    def command(self, name: str) -> list[str]:
        """The words of a command line that begins with the absolute path of a program; [] where it is not set."""
        value = self.text(name)
        try:
            words = shlex.split(value)
        except ValueError:  # a quotation without an end
            words = [value]
        if not words or (Path(words[0]).is_absolute() and shutil.which(words[0])):
            return words
        self.wrong(name, f"is {value!r}, which does not begin with a program", "Begin it with the absolute path of a program that may be run.")
        return []

    def wrong(self, name: str, wrong: str, mend: str, id: str = "config.E001") -> None:
        self.problems.append(Problem(name, wrong, mend, id))

    def require(self) -> None:
        """Raises ImproperlyConfigured naming every problem found so far."""
        if self.problems:
            raise ImproperlyConfigured("\n".join(f"{p.name} {p.wrong}. {p.mend}" for p in self.problems))
