"""Runs the embedded PostgreSQL and Valkey of one home for as long as somebody holds a lock on it: `python -m config.keeper HOME`.

Started by `config/embedded.py`, never by hand. If the keeper itself is killed, the kernel ends the services (on Linux), and the next
start clears what they left behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import redis

from config.embedded import DATABASE, EmbeddedError, Places, open_lock
from config.services import make_folder, service_account, start_postgres, start_valkey


def main(home: Path) -> int:
    places = Places(home)
    keeper = open_lock(home / "keeper.lock")
    if not _lock_within(keeper, seconds=1):
        return 0  # another keeper was faster
    places.state.unlink(missing_ok=True)
    services: list[subprocess.Popen[bytes]] = []
    try:
        account = service_account()
        make_folder(places.sockets, account)
        services.append(start_postgres(places, account))
        services.append(start_valkey(places, account))
        _wait_for(services[0], lambda: _database_answers(places), "PostgreSQL")
        _wait_for(services[1], lambda: redis.Redis.from_url(places.redis_url).ping(), "Valkey")
        state = {"keeper": os.getpid(), "postgres": services[0].pid, "valkey": services[1].pid}
        temporary = places.state.with_suffix(".new")
        temporary.write_text(json.dumps(state))
        temporary.rename(places.state)
        _until_unused(home, services)
    except EmbeddedError as exc:
        print(exc, flush=True)
        return 1
    finally:
        places.state.unlink(missing_ok=True)
        for process in services:
            _end(process)
    return 0


def _lock_within(file: Any, seconds: float) -> bool:
    """Somebody who only looks holds the lock for a moment; another keeper for long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
    return False


def _database_answers(places: Places) -> bool:
    with psycopg.connect(host=str(places.sockets), user="postgres", dbname="postgres", autocommit=True) as connection:
        if not connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
            connection.execute(f'create database "{DATABASE}"')  # a constant
    return True


def _wait_for(process: subprocess.Popen[bytes], answers: Callable[[], Any], name: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        if process.poll() is not None:
            raise EmbeddedError(f"{name} ended with code {process.returncode} while it was starting; what it said is above.")
        try:
            if answers():
                return
        except (psycopg.OperationalError, redis.ConnectionError, OSError):
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{name} does not answer after {seconds:.0f} s; what it said is above.") from None
        time.sleep(0.03)


def _until_unused(home: Path, services: list[subprocess.Popen[bytes]]) -> None:
    """Wait until no process holds the users' lock, a service ends by itself, or we are told to stop."""
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())

    def wait_for_users() -> None:
        with open_lock(home / "users.lock") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            done.set()
            threading.Event().wait()  # keep it until we are gone: newcomers wait for our end, then start another keeper

    threading.Thread(target=wait_for_users, daemon=True).start()
    while not done.wait(0.5):
        if any(process.poll() is not None for process in services):
            print("A service ended by itself; what it said is above.", flush=True)
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """PostgreSQL takes SIGINT for "end now, in order"; Valkey saves on it."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
