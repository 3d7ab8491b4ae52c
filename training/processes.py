"""Who a process is, so that another can tell whether it still lives. Linux; elsewhere nothing is known and heartbeats decide."""

from __future__ import annotations

import os
import uuid
from functools import cache
from hashlib import sha256
from pathlib import Path

PROC = Path("/proc")


def new_name() -> str:
    """A name for something that this process does, unique: machine:pid:start:random."""
    return f"{_machine()}:{os.getpid()}:{_started(os.getpid())}:{uuid.uuid4().hex[:12]}"


def is_gone(name: str) -> bool:
    """Is the process that gave itself this name dead for certain? False where one cannot know: it may live on another machine."""
    machine, _, rest = name.partition(":")
    pid, _, rest = rest.partition(":")
    started = rest.partition(":")[0]
    return bool(machine) and machine == _machine() and pid.isdigit() and _started(int(pid)) != started


def words(pid: int) -> list[str]:
    """The command line of a process; [] where there is none, or it has ended and was not waited for."""
    try:
        return [os.fsdecode(word) for word in (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")]
    except OSError:
        return []


@cache
def _machine() -> str:
    """This boot of this machine as seen from here: process ids mean the same within it. Empty where one cannot tell."""
    try:
        boot, namespace = (PROC / "sys/kernel/random/boot_id").read_text(), (PROC / "self/ns/pid").readlink()
    except OSError:
        return ""
    return sha256(f"{boot}{namespace}".encode()).hexdigest()[:12]


def _started(pid: int) -> str:
    """When the process started, in the kernel's ticks; empty where there is none, or it has ended and was not waited for."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
