"""The other end of `training.engine.warm`: jobs as forks of one process that has the libraries loaded."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from training import processes

PATIENCE = 120.0  # seconds for loading libraries from a slow disk
GONE = -9  # the exit code of a job whose end nobody saw


class Running(Protocol):
    """A started process: what `subprocess.Popen` and `Fork` have in common."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...


@dataclass
class Fork:
    """A job's process. It is not our child: the warm process tells how it ended, or, where that has ended too, nobody."""

    pid: int
    warm: Warm
    parent: subprocess.Popen[bytes]
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self.warm.code_of(self)
        return self.returncode


@dataclass
class Warm:
    """One warm process for `package`, started in `folder` when it is first needed, and again if it has ended. Safe to use from several threads."""

    package: str
    folder: Path
    _peer: socket.socket | None = None
    _process: subprocess.Popen[bytes] | None = None
    _answers: dict[str, int] = field(default_factory=dict)
    _codes: dict[int, int] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def start(self, kind: str, folder: str, log: str, environment: Mapping[str, str]) -> Fork:
        """Fork it for a job, which sees that environment. Raises `OSError` where that cannot be done."""
        request = {"kind": kind, "folder": folder, "log": log, "environment": dict(environment)}
        with self._turn:
            for attempt in (1, 2):
                self._ensure(environment)
                assert self._peer is not None
                try:
                    self._answers.pop(folder, None)
                    self._peer.sendall(json.dumps(request).encode() + b"\n")
                    with self._changed:
                        self._changed.wait_for(lambda: folder in self._answers or not self._alive(), PATIENCE)
                        if folder in self._answers:
                            assert self._process is not None
                            return Fork(self._answers.pop(folder), self, self._process)
                except OSError:
                    if attempt == 2:
                        raise
            raise OSError("the process that jobs are forked from does not answer")

    def code_of(self, fork: Fork) -> int | None:
        with self._changed:
            if fork.pid in self._codes:
                return self._codes.pop(fork.pid)
            return None if fork.parent.poll() is None or any(processes.words(fork.pid)) else GONE

    def ready(self, environment: Mapping[str, str]) -> None:
        """Start the warm process if there is none. It loads its libraries meanwhile; raises `OSError` where it cannot be started."""
        with self._turn:
            self._ensure(environment)

    def close(self) -> None:
        """Let it end; jobs go on."""
        if self._peer is not None:
            self._peer.shutdown(socket.SHUT_RDWR)  # closing would wait for the thread that reads

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _ensure(self, environment: Mapping[str, str]) -> None:
        if self._alive():
            return
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "training.engine.warm", self.package]
        with theirs:
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=self.folder, env=dict(environment), start_new_session=True)
        self._peer = ours
        threading.Thread(target=self._listen, args=(ours,), daemon=True, name="warm").start()

    def _listen(self, peer: socket.socket) -> None:
        with peer.makefile("rb") as lines:
            try:
                for line in lines:
                    said = json.loads(line)
                    with self._changed:
                        if "code" in said:
                            self._codes[said["pid"]] = said["code"]
                        else:
                            self._codes.pop(said["pid"], None)  # of an earlier process with this number
                            self._answers[said["folder"]] = said["pid"]
                        self._changed.notify_all()
            except OSError:
                pass
        if self._process is not None:
            self._process.wait()
        with self._changed:
            self._changed.notify_all()
