"""Checkpoints and models on disk: made aside and named when whole, and known by the SHA-256 of their weights. Needs no torch."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

MARKER = "complete.json"
# Of a trainer's checkpoint, what is not part of the model.
TRAINER_FILES = ("optimizer", "scheduler", "scaler", "rng_state", "trainer_state", "training_args", "README", MARKER, "global_step")


@dataclass(frozen=True, slots=True)
class Saved:
    """A whole checkpoint. `step` counts all RL steps, `offset` is how many of them the trainer that saved it did not count."""

    path: Path
    step: int
    offset: int
    digest: str

    def as_result(self, model: Path | None = None) -> dict[str, str]:
        return {"path": str(model or self.path), "trainer_state": str(self.path), "digest": self.digest}


def digest(folder: Path) -> str:
    """SHA-256 over the tensors of all safetensors files in the folder: name, type, shape and bytes, in the order of the names.

    The same for the same weights, however they are split over files. 64 hexadecimal digits. Raises FileNotFoundError where there are none.
    """
    tensors: list[tuple[str, dict[str, Any], Path, int]] = []
    for path in Path(folder).glob("*.safetensors"):
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        tensors += [(name, entry, path, 8 + size) for name, entry in header.items() if name != "__metadata__"]
    if not tensors:
        raise FileNotFoundError(f"no *.safetensors in {folder}")
    total = sha256()
    for name, entry, path, base in sorted(tensors, key=lambda tensor: tensor[0]):
        total.update(json.dumps([name, entry["dtype"], entry["shape"]]).encode())
        start, end = entry["data_offsets"]
        with path.open("rb") as file:
            file.seek(base + start)
            for begin in range(start, end, 1 << 24):
                total.update(file.read(min(1 << 24, end - begin)))
    return total.hexdigest()


def publish(made: Path, final: Path, **facts: Any) -> None:
    """Mark the folder `made` as complete and give it its final name, replacing what had it.

    The files reach the disk first, so the name never stands for half a checkpoint, even after a power cut.
    """
    files = {path.name: path.stat().st_size for path in sorted(made.iterdir()) if path.is_file()}
    (made / MARKER).write_text(json.dumps({**facts, "files": files}, indent=1))
    for path in made.iterdir():
        _sync(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():
        old = made.with_name(f"{made.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
        made.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    else:
        made.rename(final)
    _sync(final.parent)


def read(path: Path) -> Saved | None:
    """The checkpoint in the folder, or None where it is not whole: no marker, or a file missing or of another size."""
    try:
        facts = json.loads((path / MARKER).read_text())
        whole = all((path / name).stat().st_size == size for name, size in facts["files"].items())
        return Saved(path, facts["step"], facts["offset"], facts["digest"]) if whole else None
    except (OSError, ValueError, KeyError):
        return None


def newest(folder: Path) -> Saved | None:
    """The whole checkpoint with the most steps among the folders step-* in `folder`."""
    found = [saved for path in folder.glob("step-*") if (saved := read(path))]
    return max(found, key=lambda saved: saved.step, default=None)


def prune(folder: Path, keep: int) -> None:
    """Delete all but the `keep` newest checkpoints in `folder`, and what is not whole."""
    steps = {path: saved.step if (saved := read(path)) else -1 for path in folder.glob("step-*")}
    for path in sorted(steps, key=lambda path: steps[path])[:-keep]:
        shutil.rmtree(path)


def export(saved: Saved, aside: Path, final: Path) -> None:
    """Put the model of a checkpoint, without the trainer's state, into a folder of its own: links where the file system has them."""
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for path in saved.path.iterdir():
        if path.is_file() and not path.name.startswith(TRAINER_FILES):
            try:
                os.link(path, aside / path.name)
            except OSError:
                shutil.copy2(path, aside / path.name)
    publish(aside, final, step=saved.step, offset=saved.offset, digest=saved.digest)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
