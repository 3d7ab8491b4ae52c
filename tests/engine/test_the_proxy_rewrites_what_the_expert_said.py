"""Context distillation: the proxy's own traces, those that say where they come from left out, and each made once."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.engine.conftest import change, lines, result, rewriter, run_here, run_job, write_rows
from training.engine import rewrite


def rows_of(folder):
    return lines(folder, "traces.jsonl")


def test_the_first_traces_that_are_scored_and_say_nothing_are_kept(make_job, monkeypatch):
    folder = make_job("rewrite", "rewrite", traces=2, tries=5)
    assert run_here(folder, monkeypatch) == 0
    rows = rows_of(folder)
    for example in range(10):
        own = [row for row in rows if row["id"] == example]
        assert [row["sample"] for row in own] == list(range(len(own)))
        assert len(own) <= 5
        good = [row for row in own if f"is word{example}</critique>" in row["raw"] and "expert" not in row["raw"]]
        assert [row for row in own if row["kept"]] == good[:2]
        assert len(good) >= 2 or len(own) == 5
        assert all(row["score"] is not None and row["reason"] == "" for row in good)
    reasons = Counter(row["reason"] for row in rows)
    assert reasons["leak"] == sum("expert" in row["raw"] for row in rows) > 0
    assert reasons["no critique"] == sum("<critique></critique>" in row["raw"] for row in rows) > 0
    assert result(folder) == {
        "status": "done",
        "examples": 10,
        "kept": sum(row["kept"] for row in rows),
        "tried": len(rows),
        "rejected": {"leak": reasons["leak"], "no critique": reasons["no critique"]},
    }
    assert lines(folder, "metrics.jsonl")[-1]["done"] == lines(folder, "metrics.jsonl")[-1]["total"] == 10


@pytest.mark.parametrize(
    ("show", "last"), [("feedback", "word3"), ("full", "<critique>word3</critique><deliberation>Half.</deliberation><score>50</score>")]
)
def test_the_proxy_sees_the_grading_prompt_and_as_much_of_the_verdict_as_is_to_be_shown(make_job, monkeypatch, tmp_path, show, last):
    heard = tmp_path / "heard"
    judge = rewriter(says="<critique>x</critique><score>1</score>", heard=str(heard))
    folder = make_job("rewrite", "rewrite", show=show, traces=1, judge=judge)
    assert run_here(folder, monkeypatch) == 0
    asked = [json.loads(line) for line in heard.open()]
    assert asked[3] == [f"Judge tree 3. # {last}"]
    assert len(asked) == 10


def test_another_seed_makes_other_traces(make_job, monkeypatch):
    one, other = make_job("one", "rewrite"), make_job("other", "rewrite", seed=4)
    assert run_here(one, monkeypatch) == run_here(other, monkeypatch) == 0
    assert [row["score"] for row in rows_of(one)] != [row["score"] for row in rows_of(other)]


def test_a_text_that_speaks_of_experts_may_be_called_what_it_is(make_job, monkeypatch):
    folder = make_job("rewrite", "rewrite")
    said = {"instructions": "Write.", "critique": "good", "deliberation": "", "score": None}
    write_rows(folder / "examples.jsonl", [{"id": i, "content": "An expert, says the expert.", **said} for i in range(20)])
    assert run_here(folder, monkeypatch) == 0
    assert any("The expert says" in row["raw"] and row["kept"] for row in rows_of(folder))
    assert "leak" not in result(folder)["rejected"]


def test_where_nothing_can_be_learnt_from_all_tries_are_made_and_counted(make_job, monkeypatch):
    folder = make_job("rewrite", "rewrite", traces=2, tries=3, judge=rewriter(says="As the expert says."))
    assert run_here(folder, monkeypatch) == 0
    assert result(folder) == {"status": "done", "examples": 10, "kept": 0, "tried": 30, "rejected": {"no score": 30}}


def test_rows_that_will_not_do_are_named(make_job, monkeypatch):
    folder = make_job("rewrite", "rewrite")
    write_rows(folder / "examples.jsonl", [{"id": 1, "instructions": "Write.", "content": "x", "critique": " ", "deliberation": ""}])
    assert run_here(folder, monkeypatch) == 1
    assert "example 1 lacks id, instructions, content, critique or deliberation" in result(folder)["error"]
    write_rows(
        folder / "examples.jsonl", [{"id": 1, "instructions": "Write.", "content": text, "critique": "x", "deliberation": ""} for text in "ab"]
    )
    assert run_here(folder, monkeypatch) == 1
    assert "two examples have the same id" in result(folder)["error"]
    write_rows(folder / "examples.jsonl", [])
    assert run_here(folder, monkeypatch) == 1
    assert "holds no examples" in result(folder)["error"]


@pytest.fixture
def many():
    """More examples than a chunk."""
    return [{"id": i, "instructions": "", "content": f"tree {i}", "critique": f"word{i}", "deliberation": ""} for i in range(rewrite.CHUNK * 2 + 5)]


@pytest.fixture
def whole(make_job, monkeypatch, many):
    folder = make_job("whole", "rewrite")
    write_rows(folder / "examples.jsonl", many)
    assert run_here(folder, monkeypatch) == 0
    return folder


def test_a_job_killed_at_work_ends_as_an_unbroken_one(make_job, monkeypatch, many, whole, tmp_path):
    folder = make_job("killed", "rewrite", judge=rewriter(kill=str(tmp_path / "was-killed"), at=5))
    write_rows(folder / "examples.jsonl", many)
    assert run_job(folder).returncode == -9
    before = rows_of(folder)
    assert {row["id"] for row in before} == set(range(rewrite.CHUNK))

    assert run_here(folder, monkeypatch) == 0
    assert rows_of(folder) == rows_of(whole)
    assert result(folder) == result(whole)
    assert [line["done"] for line in lines(folder, "metrics.jsonl")] == [line["done"] for line in lines(whole, "metrics.jsonl")]


@pytest.mark.parametrize("progress", [0, 1])
def test_so_does_one_that_was_killed_while_it_wrote(make_job, monkeypatch, many, whole, progress):
    folder = make_job("torn", "rewrite")
    write_rows(folder / "examples.jsonl", many)
    written = (whole / "traces.jsonl").read_bytes().splitlines(keepends=True)
    first = sum(row["id"] < rewrite.CHUNK for row in rows_of(whole))
    (folder / "traces.jsonl").write_bytes(b"".join(written[: first + 7]) + written[first + 7][:20])
    (folder / "metrics.jsonl").write_bytes(b"".join((whole / "metrics.jsonl").read_bytes().splitlines(keepends=True)[:progress]))
    assert run_here(folder, monkeypatch) == 0
    assert rows_of(folder) == rows_of(whole)
    assert result(folder) == result(whole)


def test_a_job_told_to_stop_does_so_between_chunks_and_goes_on_later(make_job, monkeypatch, many, whole):
    folder = make_job("stopped", "rewrite")
    write_rows(folder / "examples.jsonl", many)
    change(folder, judge=rewriter(stop=str(folder / "stop"), at=2))
    assert run_here(folder, monkeypatch) == 0
    assert result(folder) == {"status": "stopped", "examples": rewrite.CHUNK}

    change(folder, judge=rewriter())
    assert run_here(folder, monkeypatch) == 0
    assert rows_of(folder) == rows_of(whole)
    assert result(folder) == result(whole)
