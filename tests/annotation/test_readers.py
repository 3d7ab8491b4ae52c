"""Rows out of files of all formats: what can be read is read, and what cannot is named with its place."""

from __future__ import annotations

import csv
import json
import shutil
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation import readers
from annotation.errors import Unreadable

pytestmark = pytest.mark.slow

TABLE = [{"split": "train", "TOPIC": "the sea"}, {"split": "eval", "TOPIC": "caf\u00e9"}]
EACH = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def values(path: Path) -> list:
    return [row.values for row in readers.rows(path)]


def told(path: Path) -> list[tuple[int, str]]:
    """(number, problem) of the broken rows."""
    return [(row.number, row.problem) for row in readers.rows(path) if row.values is None]


def saved(folder: Path, rows, split: str | None = None) -> Path:
    import datasets

    made = datasets.Dataset.from_list(rows)
    (datasets.DatasetDict({split: made}) if split else made).save_to_disk(str(folder))
    return folder


def test_the_same_rows_come_out_of_every_format(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(TABLE), tmp_path / "a.parquet")
    files = [
        written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, TABLE))),
        written(tmp_path, "a.csv", "split,TOPIC\ntrain,the sea\neval,caf\u00e9\n"),
        written(tmp_path, "b.csv", "split;TOPIC\r\ntrain;the sea\r\neval;caf\u00e9"),
        written(tmp_path, "a.tsv", "split\tTOPIC\ntrain\tthe sea\neval\tcaf\u00e9\n"),
        tmp_path / "a.parquet",
        saved(tmp_path / "folder", TABLE),
    ]
    for file in files:
        assert values(file) == TABLE, file


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_byte_order_mark_is_no_part_of_the_text(name, tmp_path):
    data = "split,TOPIC\ntrain,x\n" if name.endswith("csv") else '{"split": "train", "TOPIC": "x"}'
    assert values(written(tmp_path, name, b"\xef\xbb\xbf" + data.encode())) == [{"split": "train", "TOPIC": "x"}]


STRANGE = {
    "a.jsonl": (b"", "empty"),
    "b.parquet": (b"", "empty"),
    "c.jsonl": ("{}".encode("utf-16"), "UTF-16"),
    "d.csv": (b"\x1f\x8b\x08\x00", "compressed"),
    "e.csv": (b"PK\x03\x04rest", "spreadsheet"),
    "f.jsonl": (b"PAR1rest", ".parquet"),
    "g.parquet": (b"nonsense", "cannot be read as Parquet"),
    "h.txt": (b"words", "What kind of file is this"),
    "i.csv": (b"a,b,a\n1,2,3\n", "two columns called a"),
    "j.csv": (b"a,,b\n1,2,3\n", "name every column"),
    "k.csv": (b"\n\n", "name every column"),
    "l.csv": (b"a\xff,b\n", "not UTF-8"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_file_that_is_something_else_says_what_it_is_and_what_to_do(name, tmp_path):
    data, words = STRANGE[name]
    with pytest.raises(Unreadable, match=words):
        values(written(tmp_path, name, data))


def test_a_missing_file_is_the_systems_own_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        values(tmp_path / "none.jsonl")


def test_a_ragged_row_is_named_with_its_line_and_the_others_are_read(tmp_path):
    file = written(tmp_path, "a.csv", 'a,b\n1,2\n1\n"two\nlines",2\n1,2,3\n\n3,4\n')
    assert values(file)[0] == {"a": "1", "b": "2"}
    assert [row.number for row in readers.rows(file)] == [2, 3, 4, 6, 8]
    assert told(file) == [
        (3, "has 1 cells where the header has 2: fill the row up"),
        (6, "has 3 cells where the header has 2: put quotes around cells with the delimiter in them"),
    ]
    assert values(file)[-1] == {"a": "3", "b": "4"}


def test_a_quote_that_is_never_closed_says_which_lines_it_swallowed(tmp_path):
    ((number, problem),) = told(written(tmp_path, "a.csv", 'a,b\n1,2\n"x,2\n3,4\n5,6\n'))
    assert number == 3
    assert "the lines 3 to 5 were not read" in problem


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_bytes_that_are_no_utf8_break_only_their_own_row(name, tmp_path):
    rows = [b"TOPIC\n"] if name.endswith("csv") else []
    rows += [b"a\n", b"\xff\n", b"b\n"] if rows else [b'{"TOPIC": "a"}\n', b'{"TOPIC": "\xff"}\n', b'{"TOPIC": "b"}\n']
    file = written(tmp_path, name, b"".join(rows))
    assert [row and row["TOPIC"] for row in values(file)] == ["a", None, "b"]
    ((_, problem),) = told(file)
    assert "not UTF-8 (the byte 0xff" in problem


def test_nul_bytes_come_through_or_are_named(tmp_path):
    assert told(written(tmp_path, "a.jsonl", b'{"TOPIC": "a\x00b"}'))[0][1].startswith("not valid JSON")
    assert values(written(tmp_path, "a.csv", b"TOPIC\na\x00b\n")) == [{"TOPIC": "a\x00b"}]


def test_a_row_longer_than_may_be_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST", 100)
    file = written(tmp_path, "a.jsonl", '{"a": 1}\n{"a": "' + "x" * 1000 + '"}\n{"a": 2}\n')
    assert values(file) == [{"a": 1}, None, {"a": 2}]
    assert told(file) == [(2, "longer than 100 characters: is each row on a line of its own?")]


def test_nested_columns_come_as_objects_and_nulls_are_not_there(tmp_path):
    rows = [{"variables": {"TOPIC": "a"}, "step": None}, {"variables": {"PLACE": "b"}, "step": 3}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert values(tmp_path / "a.parquet") == [{"variables": {"TOPIC": "a"}}, {"variables": {"PLACE": "b"}, "step": 3}]


def test_a_cell_that_is_no_text_takes_no_other_row_along(tmp_path):
    column = pyarrow.StringArray.from_buffers(
        3, pyarrow.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])), pyarrow.py_buffer(b"a\xffb")
    )
    pyarrow.parquet.write_table(pyarrow.table({"TOPIC": column}), tmp_path / "a.parquet")
    assert [row and row["TOPIC"] for row in values(tmp_path / "a.parquet")] == ["a", None, "b"]
    assert told(tmp_path / "a.parquet")[0][0] == 2


def test_a_table_that_is_damaged_in_the_middle_gives_what_comes_before(tmp_path):
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"TOPIC": [f"topic {i} " + "x" * 50 for i in range(4000)]})
    pyarrow.parquet.write_table(table, path, row_group_size=1000, compression="snappy", use_dictionary=False)
    data = bytearray(path.read_bytes())
    at = pyarrow.parquet.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    data[at : at + 400] = b"\xff" * 400
    path.write_bytes(data)
    rows = list(readers.rows(path))
    assert [row.number for row in rows if row.values is not None] == list(range(1, 2001))
    assert told(path)[0][0] == 2001
    assert "nothing that follows" in told(path)[0][1]


@pytest.mark.parametrize(("split", "ours"), [("train", "train"), ("test", "eval"), ("validation", "eval"), ("dev2", "dev2")])
def test_the_splits_of_a_saved_data_set_name_the_split_of_its_rows(split, ours, tmp_path):
    folder = saved(tmp_path / "d", [{"TOPIC": "a"}, {"TOPIC": "b"}], split)
    assert values(folder) == [{"split": ours, "TOPIC": "a"}, {"split": ours, "TOPIC": "b"}]


def test_rows_are_counted_through_all_shards(tmp_path):
    import datasets

    made = datasets.Dataset.from_list([{"TOPIC": str(i)} for i in range(2500)])
    made.save_to_disk(str(tmp_path / "d"), num_shards=3)
    assert [(row.number, row.values) for row in readers.rows(tmp_path / "d")] == [(i + 1, {"TOPIC": str(i)}) for i in range(2500)]


def test_a_folder_that_names_files_outside_of_itself_is_refused(tmp_path):
    folder = saved(tmp_path / "d", [{"TOPIC": "a"}])
    state = json.loads((folder / "state.json").read_text())
    state["_data_files"] = [{"filename": "../../etc/passwd"}]
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(Unreadable, match="passwd in d cannot be read"):
        values(folder)
    (folder / "state.json").write_text("{}")
    with pytest.raises(Unreadable, match="Save the data set again"):
        values(folder)


@EACH
@given(data=st.binary(max_size=400), name=st.sampled_from(["a.jsonl", "a.csv", "a.tsv", "a.parquet"]))
def test_any_bytes_make_rows_or_a_plain_error(data, name, tmp_path):
    path = written(tmp_path, name, data)
    try:
        rows = list(readers.rows(path))
    except Unreadable:
        return
    assert all((row.values is None) == bool(row.problem) for row in rows)
    assert [row.number for row in rows] == sorted({row.number for row in rows})


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    """A Parquet file, and the Arrow file of a saved data set."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [{"split": "train", "variables": {"TOPIC": f"topic {i}"}, "step": i, "more": [1, i]} for i in range(60)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "a.parquet", row_group_size=20)
    (arrow,) = saved(folder / "d", rows).glob("*.arrow")
    return {"parquet": folder / "a.parquet", "arrow": arrow}


DAMAGE = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)


@EACH
@given(kind=st.sampled_from(["parquet", "arrow"]), damage=DAMAGE, cut=st.none() | st.integers(1, 10**6))
def test_a_damaged_table_makes_rows_or_a_plain_error_and_never_ends_the_process(kind, damage, cut, tables, tmp_path):
    whole = bytearray(tables[kind].read_bytes())
    for place, byte in damage:
        whole[place % len(whole)] = byte
    data = bytes(whole[: cut % len(whole) + 1] if cut else whole)
    if kind == "parquet":
        path = written(tmp_path, "a.parquet", data)
    else:
        path = tmp_path / "d"
        shutil.copytree(tables[kind].parent, path, dirs_exist_ok=True)
        (path / tables[kind].name).unlink()  # a file that may still be mapped must not change
        written(path, tables[kind].name, data)
    try:
        rows = list(readers.rows(path))
    except Unreadable:
        return
    assert all((row.values is None) == bool(row.problem) for row in rows)
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))


CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n"), min_size=1, max_size=20).filter(str.strip)


@EACH
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=10))
def test_what_the_csv_module_writes_comes_back(rows, tmp_path):
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b"), *rows])
    assert [tuple(row.values()) for row in values(tmp_path / "a.csv")] == rows


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_long_file_takes_no_more_memory_than_a_short_one(name, tmp_path):
    def peak(count: int) -> int:
        path = tmp_path / name
        if name.endswith("parquet"):
            pyarrow.parquet.write_table(pyarrow.table({"TOPIC": [f"topic {i}" for i in range(count)]}), path)
        else:
            lines = ["TOPIC"] if name.endswith("csv") else []
            lines += [f"topic {i}" if lines else json.dumps({"TOPIC": f"topic {i}"}) for i in range(count)]
            path.write_text("\n".join(lines))
            del lines
        tracemalloc.start()
        try:
            assert sum(1 for _ in readers.rows(path)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # imports
    assert peak(60_000) < peak(3_000) + 2**20
