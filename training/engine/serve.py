"""What writes a job's rollouts: a model in this process, one elsewhere, or a vLLM of the job's own that has the checkpoint."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from grading.backends import load
from grading.errors import GraderError
from grading.models.base import LanguageModel
from grading.serving import ServedModel
from training.engine import guard
from training.engine.faults import JobError
from training.engine.job import Job

STARTS_IN = 1800.0  # seconds: tens of gigabytes may come from a slow disk
LOG = "vllm.log"


@contextmanager
def writing(job: Job, model: str | dict[str, Any], *, keep_tokens: bool = False) -> Iterator[LanguageModel]:
    """The language model that a backend has, or that is in a folder: in this process, or in a vLLM that the job's `serve`, a command, starts."""
    if isinstance(model, dict):
        yield load(model)
    elif job["serve"]:
        with serving(job, job["serve"], model) as url:
            yield ServedModel(url, model, extra={"return_token_ids": keep_tokens})
    else:
        from grading.models.transformers import TransformersModel

        yield TransformersModel(model, keep_tokens=keep_tokens)


@contextmanager
def serving(job: Job, command: Sequence[str], model: str) -> Iterator[str]:
    """Base URL of the vLLM that `command` (such as ["/opt/vllm/bin/vllm", "serve"]) starts on the checkpoint in folder `model`, on a free port.

    It ends when the block does or this process dies. What it says goes to vllm.log in the job's folder. Raises `JobError` where it does not
    start, or has ended when the block fails for want of an answer. A job that is told to stop does not wait for it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [*command, model, "--host", "127.0.0.1", "--port", str(port)]
    with (job.folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, guard.__file__, str(os.getpid()), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(job, process, f"http://127.0.0.1:{port}/health")
        try:
            yield f"http://127.0.0.1:{port}/v1"
        except GraderError:
            if process.poll() is not None:
                raise _ended(job) from None
            raise
    finally:
        process.terminate()
        process.wait()


def _wait(job: Job, process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + STARTS_IN
    while not job.stopping:
        if process.poll() is not None:
            raise _ended(job)
        with suppress(OSError), urllib.request.urlopen(address, timeout=5):  # noqa: S310 (our own http)
            return
        if time.monotonic() > deadline:
            raise JobError(f"vLLM was not ready within {STARTS_IN:.0f} s", f"See {job.folder / LOG}, and the machine it runs on.")
        time.sleep(0.2)


def _ended(job: Job) -> JobError:
    log = job.folder / LOG
    last = log.read_text(errors="replace").strip().rpartition("\n")[2][-300:]
    return JobError(f"vLLM ended: {last}", f"{log} says more. Correct TOUCHSTONE_VLLM_COMMAND or make room, then resume.")
