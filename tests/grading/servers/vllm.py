"""A real vLLM on the processor, in a process of its own, with a checkpoint that a test names."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
BASE = ROOT / "training" / "pocket" / "base"
NAME = "pocket"  # of the base model, for those who ask
STARTS_IN = 420.0  # seconds at most; it takes one to two minutes where nothing else runs
MISSING = "vLLM is not installed: run `make .venv-vllm/.installed` (make test does), or leave these tests out: pytest -m 'not vllm'"
# Chunked prefill is off: on a processor, version 0.32 dies of a seeded prompt that is read in pieces ("CPU Generator does not use offset").
OPTIONS = (
    "--no-enable-chunked-prefill",
    "--dtype",
    "float32",
    "--enforce-eager",
    "--max-model-len",
    "1024",
    "--max-num-seqs",
    "64",
    "--enable-prompt-tokens-details",
    "--disable-uvicorn-access-log",
)
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CACHE_ROOT": str(PYTHON.parents[1] / "cache"),
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # to no core: others want the machine too
    "TORCHDYNAMO_DISABLE": "1",  # compiling takes half a minute at the first request for log-probabilities
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}
PROGRAM = (str(PYTHON), "-m", "vllm.entrypoints.openai.api_server")  # `vllm serve` wants the metadata of a package called vllm
# What an operator would give Touchstone to start one with; the checkpoint's folder comes next.
COMMAND = ["/usr/bin/env", *(f"{name}={value}" for name, value in SETTINGS.items()), *PROGRAM, *OPTIONS, "--model"]
LORA = ("--enable-lora", "--max-lora-rank", "8", "--max-loras", "2", "--max-cpu-loras", "4")


class NotStarted(Exception):
    """It ended, or did not answer in time; the message ends with what it said last."""


@dataclass(frozen=True)
class VLLM:
    url: str
    log: Path

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        """Status and text of the answer."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()

    def load_lora(self, name: str, folder: Path) -> None:
        status, said = self.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        assert status == 200, said

    def tail(self, lines: int = 60) -> str:
        return f"--- the end of {self.log} ---\n" + "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def running(model: Path, folder: Path, *options: str) -> Iterator[VLLM]:
    """vLLM serving the checkpoint in `model`, with its log in `folder`; it ends with all its processes. Raises `NotStarted`."""
    if not PYTHON.exists():
        raise NotStarted(MISSING)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    server = VLLM(f"http://127.0.0.1:{port}", folder / "vllm.log")
    command = [*PROGRAM, "--model", str(model), "--served-model-name", NAME]
    command += ["--host", "127.0.0.1", "--port", str(port), *OPTIONS, *options]
    with server.log.open("wb") as log:
        # A session of its own: its engine is a process beside it, which is to go with it.
        process = subprocess.Popen(command, cwd=folder, env=_environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait(server, process)
        yield server
    finally:
        _end(process)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("TOUCHSTONE_", "VLLM_", "PYTEST_"))} | SETTINGS


def _wait(server: VLLM, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTS_IN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotStarted(f"vLLM ended with {process.returncode} before it was ready\n{server.tail()}")
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.5)
    raise NotStarted(f"vLLM was not ready within {STARTS_IN:.0f} s\n{server.tail()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and whatever it has started."""
    for sign, patience in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 15.0)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and _alive(process):
            time.sleep(0.1)
    process.wait()


def _alive(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # so that it is no zombie
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
