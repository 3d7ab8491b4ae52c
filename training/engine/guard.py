"""Runs a command, and ends it with all that it has started when it is told to or its parent dies: `python guard.py PARENT COMMAND...`.

PARENT is the parent's process id. To be started in a session of its own; run by its path, it needs nothing of ours. A server that is killed
without a chance to end its own processes, or does not listen to SIGTERM while it starts, would leave them behind, and with them the GPU's memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from threading import Event

ENDS_IN = 20.0  # seconds to end in order


def main(parent: int, command: list[str]) -> None:
    told = Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    process = subprocess.Popen(command)
    while process.poll() is None and os.getppid() == parent and not told.wait(0.2):
        pass
    os.killpg(0, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(ENDS_IN)
    os.killpg(0, signal.SIGKILL)  # ourselves as well


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
