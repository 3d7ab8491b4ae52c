"""A real PostgreSQL and a real Valkey from wheels, for when DATABASE_URL and REDIS_URL are not set.

Both listen on sockets in one private folder, so no port is taken. Where they listen follows from the home alone: settings know the
URLs without starting anything. Processes that use the services each hold a shared lock; a keeper (`config/keeper.py`) runs the
services and ends them when the last lock is gone, however its holder ended.

Started by root, the services run as the system user `touchstone`. No mode of any parent folder is ever changed: a home that this
user cannot reach is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

SYSTEM_USER = "touchstone"
LONGEST_SOCKET = 100  # the kernel allows 107 bytes, on macOS 103
START_SECONDS = 120
DATABASE = "touchstone"

_thread_lock = threading.Lock()
_held: dict[tuple[Path, int], Any] = {}  # open lock files, by home and process: a fork holds none of its parent's


class EmbeddedError(Exception):
    """The embedded services cannot run; the message says why and what to do."""


class Places(NamedTuple):
    """Where everything of one home lies."""

    home: Path

    @property
    def sockets(self) -> Path:
        folder = self.home / "run"
        if len(os.fsencode(folder / ".s.PGSQL.5432")) <= LONGEST_SOCKET:
            return folder
        name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return Path("/tmp") / f"touchstone-{os.geteuid()}-{name}"  # noqa: S108 (short is the point; the keeper refuses one that is not its own)

    @property
    def database_url(self) -> str:
        return f"postgresql://postgres@/{DATABASE}?host={quote(str(self.sockets))}"

    @property
    def redis_url(self) -> str:
        return f"unix://{quote(str(self.sockets / 'valkey.sock'))}"

    @property
    def postgres(self) -> Path:
        return self.home / "postgresql-18"

    @property
    def valkey(self) -> Path:
        return self.home / "valkey"

    @property
    def state(self) -> Path:
        """Written by the keeper once the services answer: its pid and theirs."""
        return self.home / "services.json"

    @property
    def log(self) -> Path:
        return self.home / "services.log"


def default_home() -> Path:
    return Path("/var/lib/touchstone") if os.geteuid() == 0 else Path.home() / ".local/share/touchstone"


def start(home: Path) -> Places:
    """Have the services of `home` running and held until this process ends. Cheap when they already are; safe to call anywhere.

    Raises EmbeddedError where the home cannot be used or the services do not come up.
    """
    places = Places(home)
    key = (home, os.getpid())
    with _thread_lock:
        if key in _held:
            return places
        make_home(home)
        users = open_lock(home / "users.lock")
        fcntl.flock(users, fcntl.LOCK_SH)  # waits for a keeper that is ending
        with open_lock(home / "start.lock") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not running(places):
                try:
                    _start_keeper(places)
                except BaseException:
                    users.close()
                    raise
        _held[key] = users
    return places


def let_go(home: Path) -> None:
    """This process no longer needs the services; they end if nobody else does."""
    with _thread_lock:
        if users := _held.pop((home, os.getpid()), None):
            users.close()


def running(places: Places) -> bool:
    """Whether a keeper is alive, says that the services answer, and they take connections."""
    if keeper_is_gone(places) or not places.state.exists():
        return False
    return all(_accepts(places.sockets / name) for name in (".s.PGSQL.5432", "valkey.sock"))


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def keeper_is_gone(places: Places) -> bool:
    with open_lock(places.home / "keeper.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look do not take each other for the keeper
        except BlockingIOError:
            return False
        return True


def read_state(places: Places) -> dict[str, Any]:
    """{"keeper": pid, "postgres": pid, "valkey": pid}, or {} while nothing runs."""
    if keeper_is_gone(places):
        return {}
    try:
        state: dict[str, Any] = json.loads(places.state.read_text())
    except (OSError, ValueError):  # it ended between the two looks
        return {}
    return state


def wait_until_stopped(home: Path, seconds: float = 30) -> bool:
    """Wait for the keeper of `home` to end; False if it is still there after `seconds`."""
    deadline = time.monotonic() + seconds
    while home.exists() and not keeper_is_gone(Places(home)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def make_home(home: Path) -> None:
    """Make the home folder if it is missing. Raises EmbeddedError where it cannot be used; never changes a folder that exists."""
    if os.geteuid() == 0:
        parent = next((folder for folder in home.parents if folder.exists() and not folder.stat().st_mode & 0o001), None)
        closed = home if home.exists() and not home.stat().st_mode & 0o001 else parent
        if closed:
            raise EmbeddedError(
                f"The embedded PostgreSQL cannot live in {home}: root may not run it, and the user {SYSTEM_USER} cannot enter {closed}. "
                "Set TOUCHSTONE_HOME to a folder below public ones (such as /var/lib/touchstone), or start as an ordinary user."
            )
    try:
        missing = [folder for folder in (home, *home.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755 if os.geteuid() == 0 else 0o700)
    except OSError as exc:
        raise EmbeddedError(f"Cannot make {home}: {exc.strerror}. Set TOUCHSTONE_HOME to a folder that you may write to.") from exc
    if not os.access(home, os.W_OK | os.X_OK):
        raise EmbeddedError(f"Cannot write to {home}. Set TOUCHSTONE_HOME to a folder that you may write to.")


def open_lock(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")


def _start_keeper(places: Places) -> None:
    """Called under start.lock. A keeper that is alive without a state is coming up or going down: wait for whichever it is."""
    deadline = time.monotonic() + START_SECONDS
    places.log.touch(mode=0o600)
    process = None
    while not running(places):
        if keeper_is_gone(places) and (process is None or process.poll() is not None):
            if process is not None and process.returncode:
                raise EmbeddedError(f"The embedded services did not start.\n{_tail(places.log)}\nThe whole log is {places.log}.")
            with open(places.log, "ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "config.keeper", str(places.home)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # a Ctrl-C is not for it: it ends when nobody uses it
                    cwd=Path(__file__).parent.parent,
                )
        if time.monotonic() > deadline:
            raise EmbeddedError(f"The embedded services did not answer within {START_SECONDS} s.\n{_tail(places.log)}")
        time.sleep(0.02)


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
