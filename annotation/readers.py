"""Rows out of files: JSON lines, CSV, Parquet, and folders that Hugging Face `datasets` saved. One at a time, whatever the file's size.

What is wrong with one row is said in that row; what follows it is still read.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from annotation.errors import Unreadable

LONGEST = 16 * 2**20  # characters of one row of text, or of one cell
AT_ONCE = 1000  # rows of a table that are in memory at a time
FORMATS = "JSON lines (.jsonl), CSV (.csv, .tsv), Parquet (.parquet)"
LINES, CELLS, PARQUET = (".jsonl", ".ndjson", ".json"), (".csv", ".tsv"), (".parquet",)
SUFFIXES = (*LINES, *CELLS, *PARQUET)
# What the first bytes of a file say about it that its name does not.
SIGNS = {
    b"\xff\xfe": "It is in UTF-16. Save it as UTF-8.",
    b"\xfe\xff": "It is in UTF-16. Save it as UTF-8.",
    b"\x1f\x8b": "It is compressed (gzip). Unpack it first.",
    b"PK\x03\x04": "It is an archive or a spreadsheet (zip). Unpack it, or save the sheet as CSV.",
    b"PAR1": "It is Parquet. Give it a name that ends in .parquet.",
}
UNDECODED = re.compile("[\udc80-\udcff]")  # what reading with surrogateescape makes of bytes that are no UTF-8
SPLITS = {"train": "train", "training": "train", "eval": "eval", "evaluation": "eval", "validation": "eval", "valid": "eval", "test": "eval"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `number` is its line in a text file or its place in a table, from 1. Where it cannot be read `values` is None, `problem` says why."""

    number: int
    values: Mapping[str, Any] | None
    problem: str = ""


def unit(path: Path) -> str:
    """What a row's number counts: lines of text or rows of a table."""
    return "line" if path.suffix.lower() in (*LINES, *CELLS) else "row"


def rows(path: Path) -> Iterator[Row]:
    """The rows of a file, or of a folder that `datasets` saved (a folder's splits name the split of rows that have none; all but train are eval).

    Blank lines are passed over; empty cells and nulls count as not there. Raises `Unreadable` for what is no such file, `OSError` where it cannot
    be opened.
    """
    if path.is_dir():
        yield from _saved(path)
        return
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise Unreadable(f"What kind of file is this? Its name has to end as one of these does: {FORMATS}. A folder must be one that datasets saved.")
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise Unreadable("The file is empty: there is nothing in it to import.")
    if suffix in PARQUET:
        yield from _parquet(path)
        return
    for sign, words in SIGNS.items():
        if start.startswith(sign):
            raise Unreadable(words)
    # Bytes that are no UTF-8 come through as surrogates, so that only their own row is broken.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="" if suffix in CELLS else None) as text:
        yield from _cells(text, "\t" if suffix == ".tsv" else "") if suffix in CELLS else _lines(text)


def read_json(number: int, line: str) -> Row:
    """A line of JSON as a row."""
    if wrong := _undecoded(line):
        return Row(number, None, wrong)
    try:
        value = json.loads(line, parse_constant=_no_number, object_pairs_hook=_object)
    except RecursionError:
        return Row(number, None, "not valid JSON: nested too deeply")
    except ValueError as exc:
        return Row(number, None, f"not valid JSON: {exc}")
    if not isinstance(value, dict):
        return Row(number, None, 'not an object such as {"split": "train", "variables": {...}}; write one object a line')
    return Row(number, value)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)} is there twice")
    return made


def _undecoded(text: str) -> str:
    found = UNDECODED.search(text)
    return f"not UTF-8 (the byte 0x{ord(found[0]) - 0xDC00:02x} after {found.start()} characters): save the file as UTF-8" if found else ""


def _bounded(text: TextIO) -> Iterator[str | None]:
    """The lines of `text`, None for one that is longer than a row may be: it is passed over without being held in memory."""
    while line := text.readline(LONGEST + 1):
        if len(line) <= LONGEST or line.endswith("\n"):
            yield line
            continue
        while line and not line.endswith("\n"):
            line = text.readline(LONGEST)
        yield None


def _lines(text: TextIO) -> Iterator[Row]:
    for number, line in enumerate(_bounded(text), start=1):
        if line is None:
            yield Row(number, None, f"longer than {LONGEST:,} characters: is each row on a line of its own?")
        elif line.strip():
            yield read_json(number, line)


# CSV -------------------------------------------------------------------------------------------------------------------------


def _cells(text: TextIO, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(LONGEST)
    first = text.readline(LONGEST)
    text.seek(0)
    # Spreadsheets write semicolons where the comma is the decimal point.
    reader = csv.reader(_fitting(text), delimiter=delimiter or max(",;\t", key=first.count), strict=True)
    header = _header(reader)
    while True:
        before = reader.line_num
        try:
            cells = next(reader, None)
        except csv.Error as exc:
            lost = f"; the lines {before + 1} to {reader.line_num} were not read" if reader.line_num > before + 1 else ""
            yield Row(before + 1, None, f"not valid CSV: {exc}{lost}. Check the quotes")
            continue
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield _record(before + 1, header, cells)


def _record(number: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        hint = "put quotes around cells with the delimiter in them" if len(cells) > len(header) else "fill the row up"
        return Row(number, None, f"has {len(cells)} cells where the header has {len(header)}: {hint}")
    if wrong := next(filter(None, map(_undecoded, cells)), ""):
        return Row(number, None, wrong)
    return Row(number, {name: cell for name, cell in zip(header, cells, strict=True) if cell})


def _fitting(text: TextIO) -> Iterator[str]:
    for number, line in enumerate(_bounded(text), start=1):
        if line is None:
            raise Unreadable(f"Line {number} has more than {LONGEST:,} characters. Is this CSV?")
        yield line


def _header(reader: Iterator[list[str]]) -> list[str]:
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as exc:
        raise Unreadable(f"The header is not valid CSV: {exc}.") from exc
    if any(map(_undecoded, header)):
        raise Unreadable("The header is not UTF-8. Save the file as UTF-8.")
    _check_names(header)
    return header


def _check_names(names: list[str]) -> None:
    if not names or not all(names):
        raise Unreadable("The first line has to name every column.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Unreadable(f"There are two columns called {', '.join(twice)}. Rename one.")


# Tables: pyarrow is large, and most processes never need it --------------------------------------------------------------------


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path, memory_map=True)
    except (pyarrow.ArrowException, OSError, ValueError) as exc:
        raise Unreadable(f"It cannot be read as Parquet: {exc}") from exc
    with file:
        _check_names(file.schema_arrow.names)
        yield from _of_batches(file.iter_batches(AT_ONCE), 1)


def _saved(folder: Path) -> Iterator[Row]:
    """A Dataset (state.json and its Arrow files) or a DatasetDict (a folder for each split). Read without `datasets`, which may load torch."""
    if (folder / "dataset_dict.json").is_file():
        number = 1
        for split in _names(folder / "dataset_dict.json", "splits"):
            for row in _shards(folder / split, number):
                number = row.number + 1
                values = None if row.values is None else {"split": SPLITS.get(split, split), **row.values}
                yield Row(row.number, values, row.problem)
    elif (folder / "state.json").is_file():
        yield from _shards(folder, 1)
    else:
        raise Unreadable(f"{folder.name} is not a folder that datasets saved (save_to_disk): it has neither dataset_dict.json nor state.json.")


def _shards(folder: Path, number: int) -> Iterator[Row]:
    import pyarrow

    for name in _names(folder / "state.json", "_data_files", "filename"):
        path = folder / name
        try:
            with pyarrow.memory_map(str(path)) as source:
                reader = pyarrow.ipc.open_stream(source)
                _check_names(reader.schema.names)
                for row in _of_batches(iter(reader), number):
                    number = row.number + 1
                    yield row
        except (pyarrow.ArrowException, OSError, ValueError) as exc:
            raise Unreadable(f"{path.name} in {folder.name} cannot be read: {exc}") from exc


def _names(path: Path, key: str, inner: str = "") -> list[str]:
    """The names under `key` in a file of JSON, or under `inner` in the objects that are there; without folders before them."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[key]
        return [Path(entry[inner] if inner else entry).name for entry in found]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as exc:
        raise Unreadable(f"{path.name} in {path.parent.name} cannot be read. Save the data set again.") from exc


def _of_batches(batches: Iterator[Any], number: int) -> Iterator[Row]:
    """The rows of record batches, counted from `number`. Where a batch cannot be read the last row says so: what follows it is out of reach."""
    import pyarrow

    while True:
        try:
            batch = next(batches, None)
        except (pyarrow.ArrowException, OSError, ValueError) as exc:
            yield Row(number, None, f"cannot be read, and nothing that follows it: {exc}")
            return
        if batch is None:
            return
        for start in range(0, batch.num_rows, AT_ONCE):
            part = batch.slice(start, AT_ONCE)
            yield from _of_batch(part, number)
            number += part.num_rows


def _of_batch(batch: Any, number: int) -> Iterable[Row]:
    try:
        return [Row(number + i, values) for i, values in enumerate(_python(batch))]
    except Exception:  # one cell that is no UTF-8 or no Python value must not take its neighbours along
        return [_alone(batch.slice(i, 1), number + i) for i in range(batch.num_rows)]


def _alone(batch: Any, number: int) -> Row:
    try:
        return Row(number, _python(batch)[0])
    except Exception as exc:
        return Row(number, None, f"cannot be read: {exc}")


def _python(batch: Any) -> list[Any]:
    batch.validate(full=True)  # without it a damaged file can end the process
    return [_present(values) for values in batch.to_pylist(maps_as_pydicts="strict")]


def _present(value: Any) -> Any:
    """Without nulls in objects: Arrow has every key in every row."""
    if isinstance(value, dict):
        return {key: _present(item) for key, item in value.items() if item is not None}
    return value
