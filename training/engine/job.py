"""What all kinds of training job share: a folder with job.json in it, and a process that may be stopped, killed and run again.

Nothing here needs torch, so that a job that cannot run says so at once.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from types import FrameType
from typing import Any

from training.engine.faults import JobError, explain
from training.engine.files import Lines, write_json

BUSY = 75  # exit status where another process works in the folder (EX_TEMPFAIL)
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
GRACE = 20  # seconds in which the first process of a job may say itself what another one failed of
RESERVE = 64 * 1024  # bytes kept back, so that a job on a full disk can still say so

Fields = Mapping[str, type | tuple[type, ...]]


@dataclass
class Job:
    """A job folder and what its job.json says. `data` holds every key of job.json, `optional` ones with their defaults."""

    folder: Path
    data: dict[str, Any]
    rank: int = 0  # among the processes of `accelerate launch`; only the first writes
    stop_asked: bool = field(default=False)

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    @property
    def seed(self) -> int:
        seed: int = self.data["seed"]
        return seed

    @property
    def world(self) -> int:
        """How many processes carry the job out together."""
        return int(os.environ.get("WORLD_SIZE", "1"))

    @property
    def partial(self) -> Path:
        """Where things are made before they get their name; emptied whenever the job starts or fails."""
        return self.folder / "partial"

    @property
    def stopping(self) -> bool:
        """True once the job was told to stop, by SIGTERM or a file named stop. Asked at step boundaries."""
        return self.stop_asked or (self.folder / "stop").exists()

    def lines(self, name: str) -> Lines:
        return Lines(self.folder / name, write=self.rank == 0)


def derive(seed: int, *parts: int | str) -> int:
    """A seed of 31 bits that depends on all parts: randomness is a function of where one is, not of how one came there."""
    return int.from_bytes(blake2b(repr((seed, *parts)).encode(), digest_size=4).digest(), "big") >> 1


def load_job(folder: Path, kind: str, fields: Fields, optional: Mapping[str, Any]) -> Job:
    """Read FOLDER/job.json. Raises `JobError` naming the key that is missing, unknown or of the wrong type."""
    path = folder / "job.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobError(f"there is no {path}", "Give the folder of a job that has a job.json in it.") from None
    except (OSError, ValueError) as exc:
        raise JobError(f"{path} cannot be read: {exc}", "Mend the file: it must hold one JSON object.") from exc
    if not isinstance(data, dict) or data.get("kind") != kind:
        raise JobError(f"{path} is not a {kind} job", f'Run it with the module for its kind, or set "kind": "{kind}".')
    wanted: Fields = {"kind": str, "name": str, "seed": int, **fields}
    _check(data, wanted, optional, str(path))
    return Job(folder, {**optional, **data}, rank=int(os.environ.get("RANK", "0")))


def _check(data: Mapping[str, Any], wanted: Fields, optional: Mapping[str, Any], where: str) -> None:
    if unknown := sorted(set(data) - set(wanted) - set(optional)):
        raise JobError(f"{where} has keys that mean nothing here: {', '.join(unknown)}", f"Known are {', '.join([*wanted, *optional])}.")
    if missing := sorted(set(wanted) - set(data)):
        raise JobError(f"{where} lacks {', '.join(missing)}", "Add what is missing.")
    for key, types in wanted.items():
        if not isinstance(data[key], types) or (isinstance(data[key], bool) and types is not bool):
            names = " or ".join(t.__name__ for t in (types if isinstance(types, tuple) else (types,)))
            raise JobError(f"{where}: {key} must be {names}, not {data[key]!r}"[:500], "Correct it.")


def section(job: Job, key: str, fields: Fields, optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An object inside job.json, checked like job.json itself."""
    data: dict[str, Any] = job[key]
    _check(data, fields, optional or {}, f"job.json, {key}")
    return {**(optional or {}), **data}


def main(kind: str, fields: Fields, optional: Mapping[str, Any], run: Callable[[Job], dict[str, Any]]) -> int:
    """Carry out the job in the folder named on the command line; the exit status.

    0: done or stopped, 1: failed, and FOLDER/result.json says which, why and what to do; 75: another process is at work there, 2: no such folder.
    A job that is done is not done again.
    """
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        print(f"usage: python -m training.engine.{kind} FOLDER   (a job folder with a job.json)", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]).resolve()
    if "LOCAL_RANK" in os.environ:
        end_with_parent()
    try:
        return _carry_out(folder, kind, fields, optional, run)
    finally:
        _leave()


def _carry_out(folder: Path, kind: str, fields: Fields, optional: Mapping[str, Any], run: Callable[[Job], dict[str, Any]]) -> int:
    if int(os.environ.get("RANK", "0")):
        return 0 if _done(folder) else _follow(folder, kind, fields, optional, run)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"another process works on {folder}; wait for it or stop it", file=sys.stderr)
            return BUSY
        return _guarded(folder, kind, fields, optional, run)


def _leave() -> None:
    """Part from the other processes of a job: one that ends while its threads still listen to them is aborted now and then."""
    if "torch.distributed" in sys.modules:
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()


def _guarded(folder: Path, kind: str, fields: Fields, optional: Mapping[str, Any], run: Callable[[Job], dict[str, Any]]) -> int:
    result_path = folder / "result.json"
    if _done(folder):
        return 0
    result_path.unlink(missing_ok=True)
    shutil.rmtree(folder / "partial", ignore_errors=True)
    reserve = folder / "reserve"
    try:
        reserve.write_bytes(b"\0" * RESERVE)
        job = load_job(folder, kind, fields, optional)
        listen(job)
        result = run(job)
    except Exception as exc:
        result = _failure(exc, folder)
    shutil.rmtree(folder / "partial", ignore_errors=True)
    reserve.unlink(missing_ok=True)
    if result["status"] != "failed" or not result_path.exists():  # where another process has said what it failed of, this one failed of that
        write_json(result_path, result)
    (folder / "stop").unlink(missing_ok=True)
    return int(result["status"] == "failed")


def _failure(exc: Exception, folder: Path) -> dict[str, Any]:
    """What result.json says of it; the log says it too."""
    error, advice = explain(exc, folder)
    if not isinstance(exc, JobError):
        traceback.print_exception(exc)
    print(f"{error} {advice}", file=sys.stderr)
    return {"status": "failed", "error": error, "advice": advice, **getattr(exc, "details", {})}


def _done(folder: Path) -> bool:
    path = folder / "result.json"
    return path.exists() and json.loads(path.read_text())["status"] == "done"


def _follow(folder: Path, kind: str, fields: Fields, optional: Mapping[str, Any], run: Callable[[Job], dict[str, Any]]) -> int:
    """The other processes of `accelerate launch`: the first one keeps the folder.

    What one fails of, the first fails of too as a rule, perhaps later; the launcher ends all as soon as one does. So it is waited for.
    """
    try:
        job = load_job(folder, kind, fields, optional)
        listen(job)
        run(job)
    except Exception as exc:
        result = _failure(exc, folder)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the launcher need not wait, once the first one has ended
        time.sleep(GRACE)
        if not (folder / "result.json").exists():
            write_json(folder / "result.json", result)
        return 1
    return 0


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies: a launcher that is killed would leave the folder locked. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def listen(job: Job) -> None:
    """Let SIGTERM and SIGINT ask the job to stop at the next step boundary."""

    def ask(signum: int, frame: FrameType | None) -> None:
        job.stop_asked = True

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
