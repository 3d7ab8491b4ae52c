"""What runs beside the demo command: the web server, two Celery workers and the clock of the sweeps, under one guard."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from django.conf import settings
from django.core.management.base import CommandError


def only_one() -> IO[str]:
    """Lock the home for this demo. Raises CommandError while another one runs. Keep the file open."""
    lock = (settings.HOME / "demo.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise CommandError(f"A demo runs already (process {lock.read().strip()}). End it with Ctrl-C there, or use it.") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def free_port(wanted: int) -> int:
    """`wanted`, or the next port on this machine that nobody uses."""
    for port in range(wanted, min(wanted + 50, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was left a minute ago is free
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise CommandError(f"No port from {wanted} to {wanted + 49} is free. Name another with PORT=.")


def guarded(programs: Mapping[str, Mapping[str, object]], log: Path) -> subprocess.Popen[str]:
    """A guard (`config.guard`) that runs `programs`; they end when `end` is called, and also if this process is killed."""
    environ = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "config.guard"]
    with log.open("wb") as stream:
        guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stream, stderr=stream, cwd=settings.BASE_DIR, env=environ, text=True)
    assert guard.stdin
    guard.stdin.write(json.dumps(programs) + "\n")
    guard.stdin.flush()
    return guard


def end(guard: subprocess.Popen[str]) -> None:
    assert guard.stdin
    guard.stdin.close()
    try:
        guard.wait(20)
    except subprocess.TimeoutExpired:
        guard.kill()


class Processes:
    """Started on entry, ended on exit; they also end if this process is killed."""

    def __init__(self, port: int) -> None:
        self.port, self.logs = port, settings.HOME / "logs"

    def __enter__(self) -> Processes:
        self.logs.mkdir(mode=0o700, exist_ok=True)
        self.guard_log = self.logs / "guard.log"
        self.guard = guarded(self.programs(), self.guard_log)
        return self

    def __exit__(self, *exc: object) -> None:
        end(self.guard)

    def programs(self) -> dict[str, dict[str, object]]:
        celery = [sys.executable, "-m", "celery", "-A", "config"]
        worker = [*celery, "worker", "--pool", "threads", "--loglevel", "warning", "--without-gossip", "--without-mingle"]
        web = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"]
        commands = {
            "web": web,
            "worker": [*worker, "-Q", "default", "-n", "default@%h", "--concurrency", "4"],
            "training": [*worker, "-Q", "training", "-n", "training@%h", "--concurrency", str(settings.TRAINING_SLOTS)],
            "beat": [*celery, "beat", "--loglevel", "warning", "--pidfile", ""],
        }
        return {name: {"command": command, "log": str(self.logs / f"{name}.log")} for name, command in commands.items()}

    def check(self) -> None:
        """Raises CommandError if a program could not be kept running."""
        if self.guard.poll() is not None:
            raise CommandError(f"The demo's processes ended: {self.guard_log.read_text().strip()} Logs are in {self.logs}.")

    def wait_for_page(self, seconds: float = 60) -> None:
        """Until the site answers. Raises CommandError if it does not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10):
                    return
            except urllib.error.HTTPError:
                return  # it answers; what it says is not for us to judge
            except OSError:
                time.sleep(0.1)
        raise CommandError(f"The site does not answer after {seconds:.0f} s; see {self.logs / 'web.log'}.")
