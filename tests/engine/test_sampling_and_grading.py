"""Sampling and grading jobs: the same seed says the same, and nothing is made twice."""

from __future__ import annotations

import pytest

from tests.engine.conftest import LETTERS, change, lines, result, run_here, run_job
from training.engine import grade, sample

pytestmark = pytest.mark.training


def test_each_prompt_gets_its_rollouts_and_each_rollout_its_grades(make_job, monkeypatch):
    folder = make_job("sample", "sample")
    assert run_here(folder, monkeypatch) == 0
    rows = lines(folder, "rollouts.jsonl")
    assert result(folder) == {"status": "done", "rollouts": 15}
    assert [(row["prompt"], row["index"]) for row in rows] == [(10 + i, k) for i in range(5) for k in range(3)]
    assert {(row["step"], row["checkpoint"], row["request"]) for row in rows} == {(7, "ab" * 32, "eval")}
    assert all(len(row["grades"]) == 1 and row["grades"][0]["score"] >= 0 for row in rows)
    assert all(0 < row["tokens"] <= 8 for row in rows)
    last = lines(folder, "metrics.jsonl")[-1]
    assert (last["done"], last["total"]) == (15, 15)


def test_a_sampling_job_that_was_cut_short_ends_as_an_unbroken_one(make_job, monkeypatch):
    monkeypatch.setattr(sample, "CHUNK", 6)
    whole, broken = make_job("whole", "sample"), make_job("broken", "sample")
    assert run_here(whole, monkeypatch) == 0
    begun = (whole / "rollouts.jsonl").read_bytes().splitlines(keepends=True)
    (broken / "rollouts.jsonl").write_bytes(b"".join(begun[:8]) + begun[8][:20])
    assert run_here(broken, monkeypatch) == 0
    assert lines(broken, "rollouts.jsonl") == lines(whole, "rollouts.jsonl")

    other = make_job("other", "sample", seed=4)
    assert run_here(other, monkeypatch) == 0
    assert [row["completion"] for row in lines(other, "rollouts.jsonl")] != [row["completion"] for row in lines(whole, "rollouts.jsonl")]


def test_the_content_is_taken_out_of_its_tag(make_job, monkeypatch):
    folder = make_job("tagged", "sample", content_tag="story")
    assert run_here(folder, monkeypatch) == 0
    assert {row["content"] for row in lines(folder, "rollouts.jsonl")} == {""}


def test_a_grading_job_goes_on_after_what_is_written(make_job, monkeypatch):
    monkeypatch.setattr(grade, "CHUNK", 2)
    whole, broken = make_job("whole", "grade"), make_job("broken", "grade")
    assert run_here(whole, monkeypatch) == 0
    (broken / "grades.jsonl").write_text("".join((whole / "grades.jsonl").read_text().splitlines(keepends=True)[:3]))
    assert run_here(broken, monkeypatch) == 0
    assert lines(broken, "grades.jsonl") == lines(whole, "grades.jsonl")
    assert [row["id"] for row in lines(whole, "grades.jsonl")] == [1, 2, 3, 4, 5]


def test_a_sampling_job_killed_in_its_second_request_ends_as_an_unbroken_one(make_job, monkeypatch):
    whole, killed = make_job("whole", "sample"), make_job("killed", "sample")
    prompts = [{"id": i, "text": f"Write a story of {i} lines."} for i in (1, 2)]
    first, second = ({"name": name, "prompts": prompts, "per_prompt": 3, "judge": LETTERS} for name in ("eval", "initial"))
    change(whole, requests=[first, second])
    change(killed, requests=[first, {**second, "judge": mortal(killed, at=1)}])
    assert run_job(killed).returncode == -9
    assert {row["request"] for row in lines(killed, "rollouts.jsonl")} == {"eval"}
    assert [run_here(folder, monkeypatch) for folder in (whole, killed)] == [0, 0]
    assert lines(killed, "rollouts.jsonl") == lines(whole, "rollouts.jsonl")
    assert result(killed) == result(whole)


def test_a_grading_job_killed_in_its_second_chunk_ends_as_an_unbroken_one(make_job, monkeypatch):
    cases = [{"id": i, "instructions": "Write.", "content": "tree " * i} for i in range(grade.CHUNK + 2)]
    whole, killed = (make_job(name, "grade", cases=cases) for name in ("whole", "killed"))
    change(killed, judge=mortal(killed, at=2))
    assert run_job(killed).returncode == -9
    assert len(lines(killed, "grades.jsonl")) == grade.CHUNK
    assert [run_here(folder, monkeypatch) for folder in (whole, killed)] == [0, 0]
    assert lines(killed, "grades.jsonl") == lines(whole, "grades.jsonl")
    assert result(killed) == result(whole)


def mortal(folder, at):
    """The judge that kills its process at its call number `at`, once."""
    return {**LETTERS, "options": {"kill": str(folder / "was-killed"), "at": at}}


def test_cases_may_lie_in_a_file_beside_the_job(make_job, monkeypatch):
    folder = make_job("beside", "grade")
    change(folder, cases=None, judge=LETTERS)
    (folder / "cases.jsonl").write_text('{"id": 1, "instructions": "Write.", "content": "eel"}')
    assert run_here(folder, monkeypatch) == 0
    assert lines(folder, "grades.jsonl")[0]["id"] == 1
