"""A process that has loaded what jobs import, and is forked for each of them: they start at once. `python -m training.engine.warm PACKAGE`.

It reads lines of JSON from its standard input, a socket: kind, folder, log and environment of a job. It answers each with folder and pid, and, when
that process has ended, with pid and code. A job's process is in a session of its own, runs PACKAGE.KIND on the folder just as `python -m`
would, and outlives this one, which ends with whoever holds the other end of the socket. Nothing here may start a thread or touch a device: neither
survives a fork.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import socket
import sys
import traceback
from importlib import import_module
from typing import Any, NoReturn

LOOK_SECONDS = 0.1  # between looks for ended jobs, while there are any


def main() -> int:
    package = sys.argv[1]
    try:
        getattr(import_module(package), "preload", lambda: None)()
    except Exception:
        traceback.print_exc()  # and each job says in its own log what it cannot import
    gc.collect()
    gc.freeze()  # what is loaded by now is garbage never: pages stay shared with the jobs
    serve(socket.socket(fileno=os.dup(0)), package)
    return 0


def serve(peer: socket.socket, package: str) -> None:
    running: dict[int, None] = {}
    lines = b""
    with selectors.DefaultSelector() as selector:
        selector.register(peer, selectors.EVENT_READ)
        while True:
            if selector.select(LOOK_SECONDS if running else None):
                got = peer.recv(65536)
                if not got:
                    return
                *whole, lines = (lines + got).split(b"\n")
                for line in whole:
                    asked = json.loads(line)
                    pid = os.fork()
                    if pid == 0:
                        peer.close()
                        become(package, **asked)
                    running[pid] = None
                    answer(peer, folder=asked["folder"], pid=pid)
            for pid in list(running):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del running[pid]
                    answer(peer, pid=pid, code=os.waitstatus_to_exitcode(status))


def answer(peer: socket.socket, **values: Any) -> None:
    peer.sendall(json.dumps(values).encode() + b"\n")


def become(package: str, kind: str, folder: str, log: str, environment: dict[str, str]) -> NoReturn:
    """Go on as the job's process."""
    code = 1
    try:
        os.setsid()
        with open(os.devnull, "rb") as nothing, open(log, "ab", buffering=0) as stream:
            os.dup2(nothing.fileno(), 0)
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        os.environ.clear()
        os.environ.update(environment)
        known = {*sys.path, ""}
        sys.path += [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path not in known]  # as a new interpreter would
        gc.unfreeze()
        sys.argv = [f"{package}.{kind}", folder]
        runpy.run_module(f"{package}.{kind}", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as exc:
        if isinstance(exc.code, str):
            print(exc.code, file=sys.stderr)
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # what the process that was forked has set up for its end is not ours to do


if __name__ == "__main__":
    sys.exit(main())
