"""Files of a job folder that survive a crash: lines that are only ever appended, and JSON that is replaced in one step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from training.engine.faults import JobError


class Lines:
    """An append-only file of JSON lines. A line torn by a crash is cut off when the file is opened."""

    def __init__(self, path: Path, *, write: bool = True) -> None:
        self.path, self.writes = path, write
        if write:
            with path.open("ab+") as file:
                file.truncate(_whole(path))

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Write the rows in one go. A crash leaves some of them whole, and at most one torn, which the next start cuts off."""
        if self.writes and rows:
            with self.path.open("ab") as file:
                file.write("".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode("utf-8", "backslashreplace"))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The whole lines written so far."""
        if self.path.exists():
            with self.path.open("rb") as file:
                yield from (json.loads(line) for line in file if line.endswith(b"\n"))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects in a JSON lines file that others wrote; blank lines are passed over. Raises `JobError` naming file and line."""
    rows, number = [], 0
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                number += 1
                if line.strip():
                    rows.append(json.loads(line))
                    if not isinstance(rows[-1], dict):
                        raise ValueError("not an object")
    except FileNotFoundError:
        raise JobError(f"there is no {path}", "Put the file beside job.json.") from None
    except ValueError as exc:
        raise JobError(f"{path}, line {number}: {exc}", "Every line must be one JSON object; write the file again.") from exc
    return rows


def _whole(path: Path) -> int:
    """Length in bytes of the part of the file that ends with a line break."""
    data = path.read_bytes()
    return data.rfind(b"\n") + 1


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Replace the file in one step: whoever reads it sees the old or the new, whole."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
