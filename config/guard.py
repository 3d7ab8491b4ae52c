"""Runs a set of programs, starts one again that ends, and takes all of them along when it ends: `python -m config.guard`.

Whoever starts it writes the programs as one line of JSON, {name: {"command": [...], "log": path}}, to its standard input and keeps
that open: when it closes, however its holder ended, everything here ends too, training jobs in sessions of their own included.
With "once": true a program is not started again: its end is the guard's.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
QUICK_END_SECONDS = 10.0
MOST_QUICK_ENDS = 5
SAVING_SECONDS = 8.0


class Program:
    """One program, started again when it ends, unless it keeps ending at once."""

    def __init__(self, command: list[str], log: str, once: bool = False) -> None:
        self.command, self.log, self.once = command, Path(log), once
        self.quick_ends, self.started = 0, 0.0
        self.pid = 0

    def start(self) -> None:
        self.started = time.monotonic()
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_end_with_parent, start_new_session=True
            )
        self.pid = child.pid
        child.returncode = 0  # reaped below with all others, not by Popen

    def ended(self) -> bool:
        """Note an end; False once it has ended too often to be started again."""
        self.quick_ends = self.quick_ends + 1 if time.monotonic() - self.started < QUICK_END_SECONDS else 0
        return self.quick_ends < MOST_QUICK_ENDS


def main() -> int:
    programs = {name: Program(**spec) for name, spec in json.loads(sys.stdin.readline()).items()}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the holder decides; it closes our input
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # a job whose worker died becomes ours, to be ended with us
    try:
        for program in programs.values():
            program.start()
        while not _closed(sys.stdin, 0.5):
            ended = _reap()
            for name, program in programs.items():
                if program.pid not in ended:
                    continue
                if program.once:
                    return 0
                if not program.ended():
                    print(f"{name} keeps ending as soon as it is started; see {program.log}.", flush=True)
                    return 1
                program.start()
        return 0
    finally:
        end_all({program.pid for program in programs.values()})


def end_all(programs: set[int]) -> None:
    """Workers are killed first: one that saw its job stop would take that for the job's end. Jobs then get time to save."""
    everybody = psutil.Process().children(recursive=True)
    for process in everybody:
        _send(process, signal.SIGKILL if process.pid in programs else signal.SIGTERM)
    _, left = psutil.wait_procs(everybody, timeout=SAVING_SECONDS)
    for process in left + psutil.Process().children(recursive=True):
        _send(process, signal.SIGKILL)
    psutil.wait_procs(left, timeout=2)


def _send(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _reap() -> set[int]:
    """Process ids of the children, own and adopted, that have ended."""
    ended: set[int] = set()
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not pid:
            return ended
        ended.add(pid)


def _closed(stream: Any, seconds: float) -> bool:
    ready, _, _ = select.select([stream], [], [], seconds)
    return bool(ready) and not stream.readline()


def _end_with_parent() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    sys.exit(main())
