"""A search for grading prompts ends the same however often it was killed, keeps the best candidates, and says why others were none."""

from __future__ import annotations

import json
import random

import pytest

from grading.prompts import task_digest
from tests.engine import searching
from tests.engine.conftest import change, lines, result, run_here, run_job
from tests.grading.servers.anthropic import ScriptedAnthropic
from training.engine import search

PROPER = "{INSTRUCTIONS}\nText: {CONTENT}\nAnswer in <critique> and <score>."
COUNTER, WRITER = "tests.engine.searching.count_letter", "tests.engine.searching.write_rubric"
FILES = ("candidates.jsonl", "scores.jsonl", "words.jsonl")


def scripted(script: str, **mortal) -> dict:
    backend = "tests.engine.searching.Mortal" if mortal else "grading.models.scripted.ScriptedModel"
    return {"backend": backend, "options": {"script": script, **mortal}}


def judge(**mortal) -> dict:
    """A proxy that counts the letter e, which the expert of these tests does not care about."""
    return {"backend": "grading.graders.Grader", "options": {"prompts": [PROPER], "model": scripted(COUNTER, **mortal), "n": 2}}


@pytest.fixture
def make_search(tmp_path):
    """make_search(name, **changes): a job folder with 12 examples of 4 tasks and 200 validation cases, in which the expert counts the letter a."""

    def make(name, **changes):
        folder = tmp_path / name
        folder.mkdir()
        data = {
            "kind": "search", "name": f"test/{name}", "seed": 3, "judge": judge(), "method": "rubric", "writer": scripted(WRITER),
            "rubric_prompt": "See {EXAMPLES} and write {INSTRUCTIONS} {CONTENT} in <grading_prompt>.", "grading_prompt": PROPER,
            "candidates": 8, "keep": 2, "shown": 3, "draw": "random", "measure_now": True,
        }  # fmt: skip
        (folder / "job.json").write_text(json.dumps(data | changes))
        rng = random.Random(0)
        texts = ["".join(rng.choices("aeio ", k=rng.choice((12, 13, 14)))).strip() for _ in range(200)]
        examples = [
            {
                "id": 100 + i,
                "instructions": f"Write text {i % 4}.",
                "content": f"{'aeio'[i % 4]}{text}",
                "critique": f"It has {text.count('a')} a.",
                "deliberation": "",
                "score": 8 * text.count("a"),
                "proxy": [f"<critique>It has e.</critique><score>{9 * text.count('e')}</score>"],
            }
            for i, text in enumerate(texts[:12])
        ]
        cases = [{"id": i, "group": i // 5, "instructions": "Write.", "content": text, "score": 8 * text.count("a")} for i, text in enumerate(texts)]
        for file, rows in (("examples", examples), ("validation", cases)):
            (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return make


@pytest.fixture
def whole(make_search, monkeypatch):
    """A search that nothing disturbed."""
    folder = make_search("whole")
    assert run_here(folder, monkeypatch) == 0, result(folder)
    return folder


def test_the_best_are_kept_and_every_candidate_can_be_seen(whole):
    rows = {row["number"]: row for row in lines(whole, "candidates.jsonl")}
    assert list(rows) == list(range(9))
    assert rows[0]["prompts"] == [PROPER]  # what the proxy has now; it counts e
    failed = [row for row in rows.values() if row["alignment"]["note"] == "The writer gave no <grading_prompt>."]
    measured = [row for row in rows.values() if row["number"] and row not in failed]
    assert failed
    assert all((row["prompts"], row["scores"], row["alignment"]["value"], row["words"]) == ([], {}, None, "I do not know.") for row in failed)
    assert all(row["prompts"][0] in row["words"] and len(set(row["examples"])) == 3 for row in measured)
    assert all(len(row["scores"]) == row["alignment"]["samples"] + row["alignment"]["left_out"] == 200 for row in measured)
    assert all(row["alignment"]["low"] < row["alignment"]["value"] < row["alignment"]["high"] for row in measured)

    done = result(whole)
    best = sorted(measured, key=lambda row: -row["alignment"]["value"])[:2]
    assert done["chosen"] == [row["number"] for row in best]
    assert done["prompts"] == [row["prompts"][0] for row in best]
    assert done["by_task"] == {}
    assert all(prompt.startswith("Count the letter a.") for prompt in done["prompts"])  # as the expert does
    assert done["alignment"]["value"] > best[0]["alignment"]["value"] > 0.9  # two that err apart err less together
    assert abs(rows[0]["alignment"]["value"]) < 0.4
    assert [(line["done"], line["total"]) for line in lines(whole, "metrics.jsonl")][-1] == (9 * 200, 9 * 200)


@pytest.mark.parametrize(
    ("what", "at"),
    [
        ("writer", 5),  # while it writes
        ("judge", 1),  # before any is measured
        ("judge", 4),  # in the second of two chunks of a candidate
        ("judge", 5),  # between two candidates
    ],
)
def test_a_search_that_was_killed_ends_as_an_undisturbed_one(make_search, whole, monkeypatch, what, at):
    folder = make_search("killed")
    mortal = {"at": at, "kill": str(folder / "was-killed")}
    change(folder, **({"writer": scripted(WRITER, **mortal)} if what == "writer" else {"judge": judge(**mortal)}))
    assert run_job(folder).returncode == -9
    assert not (folder / "result.json").exists()
    written = (folder / "scores.jsonl").read_bytes() if what == "judge" else b""
    assert what == "writer" or len(written.splitlines()) == {1: 0, 4: 200 + 128, 5: 400}[at]

    assert run_here(folder, monkeypatch) == 0, result(folder)
    assert result(folder) == result(whole)
    assert all((folder / name).read_bytes() == (whole / name).read_bytes() for name in FILES)


def test_a_search_torn_within_a_line_or_stopped_goes_on(make_search, whole, monkeypatch):
    folder = make_search("stopped")
    change(folder, judge=judge(at=3, stop=str(folder / "stop")))
    assert run_here(folder, monkeypatch) == 0
    assert result(folder) == {"status": "stopped", "candidates": 1}
    for name in FILES:
        text = (folder / name).read_bytes()
        (folder / name).write_bytes(text[: len(text) * 2 // 3])
    change(folder, judge=judge())
    assert run_here(folder, monkeypatch) == 0
    assert result(folder) == result(whole)
    assert all((folder / name).read_bytes() == (whole / name).read_bytes() for name in FILES)


def test_another_seed_draws_other_examples(make_search, whole, monkeypatch):
    other = make_search("other", seed=4)
    assert run_here(other, monkeypatch) == 0, result(other)
    assert [row["examples"] for row in lines(other, "candidates.jsonl")] != [row["examples"] for row in lines(whole, "candidates.jsonl")]


def test_what_a_writer_wrote_before_it_failed_is_kept(make_search, monkeypatch):
    folder = make_search("flaky")
    change(folder, writer={"backend": "tests.engine.searching.Flaky", "options": {"failed": str(folder / "failed")}})
    assert run_here(folder, monkeypatch) == 1
    assert (result(folder)["error"], len(lines(folder, "words.jsonl"))) == ("the writer failed: overloaded", 7)
    assert "what it wrote is kept" in result(folder)["advice"]
    assert run_here(folder, monkeypatch) == 0
    assert sorted(row["key"] for row in lines(folder, "words.jsonl")) == [str(number) for number in range(1, 9)]


def test_claude_writes(make_search, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test-secret")
    with ScriptedAnthropic().running() as server:
        server.script = lambda params: {"content": [{"type": "text", "text": searching.RUBRIC.format("a")}], "stop_reason": "end_turn"}
        writer = {"backend": "grading.models.anthropic.AnthropicModel", "options": {"model": "claude-opus-5-5", "base_url": server.url}}
        folder = make_search("claude", writer=writer, candidates=2, keep=1)
        assert run_here(folder, monkeypatch) == 0, result(folder)
    assert result(folder)["prompts"] == ["Count the letter a.\n{INSTRUCTIONS}\nText: {CONTENT}\nAnswer in <critique> and <score>."]


def test_one_that_scores_few_texts_is_not_kept_however_well_it_agrees_on_those(make_search, monkeypatch):
    folder = make_search("shy", writer=scripted("tests.engine.searching.write_shy_rubric"), candidates=4, keep=4)
    assert run_here(folder, monkeypatch) == 0, result(folder)
    rows = lines(folder, "candidates.jsonl")[1:]
    shy = [row["number"] for row in rows if "Only long texts." in row["prompts"][0]]
    assert all(row["alignment"]["value"] > 0.9 and "rollouts unscored" in row["alignment"]["note"] for row in rows if row["number"] in shy)
    assert sorted(result(folder)["chosen"]) == [row["number"] for row in rows if row["number"] not in shy] != [1, 2, 3, 4]


@pytest.mark.parametrize(("method", "turns"), [("few-shot", 0), ("few-shot-prefilled", 3)])
def test_few_shot_candidates_are_made_of_whole_traces(make_search, monkeypatch, method, turns):
    folder = make_search("few", method=method, writer=None, candidates=3, rubric_prompt="")
    rows = [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]
    rows[0]["score"], rows[1]["critique"] = None, " "
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_here(folder, monkeypatch) == 0, result(folder)
    for row in lines(folder, "candidates.jsonl")[1:]:
        (prompt,) = row["prompts"]
        assert len(prompt["turns"] if turns else []) == turns
        text = prompt["text"] if turns else prompt
        assert text.endswith(PROPER)
        assert len(row["examples"]) == 3
        assert not {100, 101}.intersection(row["examples"])
        assert all(f"It has {r['content'][1:].count('a')} a." in str(prompt) for r in rows if r["id"] in row["examples"])
        assert row["alignment"]["value"] is not None


@pytest.mark.parametrize("method", ["per-prompt-rubric", "per-prompt-few-shot"])
def test_per_prompt_makes_one_candidate_with_prompts_for_each_task_and_measures_nothing(make_search, monkeypatch, method):
    folder = make_search("tasks", method=method, writer=scripted("tests.engine.searching.write_of_first"), shown=2)
    (folder / "validation.jsonl").unlink()
    assert run_here(folder, monkeypatch) == 0, result(folder)
    done, (row,) = result(folder), lines(folder, "candidates.jsonl")
    assert (done["chosen"], done["prompts"], done["alignment"]["value"], row["number"]) == ([1], [PROPER], None, 1)
    assert done["by_task"] == row["by_task"]
    assert set(row["by_task"]) == {task_digest(f"Write text {i}.") for i in range(4)}
    for i in range(4):  # the texts of task i begin with its letter
        (prompt,) = row["by_task"][task_digest(f"Write text {i}.")]
        if method == "per-prompt-rubric":
            assert f"Count the letter {'aeio'[i]}." in prompt
        else:
            assert [f"Text: {'aeio'[i]}" in asked and "It has" in answered for asked, answered in prompt["turns"]] == [True, True]
    assert len(set(row["examples"])) == 4 * 2
    (folder / "result.json").unlink()
    assert run_here(folder, monkeypatch) == 0
    assert (result(folder), lines(folder, "candidates.jsonl")) == (done, [row])


@pytest.mark.parametrize(("writer", "count"), [(None, 2), (scripted(WRITER), 5)])
def test_prompts_that_a_person_wrote_are_the_first_candidates(make_search, monkeypatch, writer, count):
    given = [f"Count the letter a. {PROPER}", "Just say how you like it: {CONTENT}"]
    folder = make_search("given", given=given, writer=writer, candidates=5, measure_now=False)
    assert run_here(folder, monkeypatch) == 0, result(folder)
    first, second, *others = lines(folder, "candidates.jsonl")
    assert (first["prompts"], first["words"], len(first["examples"]), len(others)) == (given[:1], given[0], 12, count - 2)
    assert (second["prompts"], second["words"], second["alignment"]["note"]) == (
        [],
        given[1],
        "The written prompt lacks {INSTRUCTIONS}, <critique>, <score>.",
    )
    assert 1 in result(folder)["chosen"]
    assert [row["number"] for row in others] == list(range(3, count + 1))


def test_first_takes_the_first_examples_for_every_candidate(make_search, monkeypatch):
    folder = make_search("first", draw="first", candidates=3)
    assert run_here(folder, monkeypatch) == 0, result(folder)
    assert all(sorted(row["examples"]) == [100, 101, 102] for row in lines(folder, "candidates.jsonl")[1:])


@pytest.mark.parametrize(
    ("changes", "error", "advice"),
    [
        (
            {"writer": scripted("tests.engine.searching.refuse")},
            "none of the 8 candidates can be chosen: The writer gave no <grading_prompt>.",
            "Mend the",
        ),
        (
            {"method": "per-prompt-rubric", "writer": scripted("tests.engine.searching.refuse")},
            "no task has got a prompt: The writer gave",
            "words.jsonl",
        ),
        ({"method": "magic"}, "there is no method 'magic' with the draw 'random'", "per-prompt-few-shot"),
        ({"draw": "best"}, "with the draw 'best'", "random and first"),
        ({"keep": 0}, "candidates, keep and shown must be 1 or more", "Correct"),
        ({"writer": None}, "rubric needs a writer", "few-shot"),
        ({"writer": None, "method": "per-prompt-rubric", "given": [PROPER]}, "per-prompt-rubric needs a writer", "few-shot"),
        ({"writer": None, "given": ["Grade it."]}, "none of the 1 candidates can be chosen: The written prompt lacks {INSTRUCTIONS}", "Mend the"),
        ({"rubric_prompt": "Write."}, "rubric_prompt has no {EXAMPLES}", "Put it where"),
        ({"grading_prompt": "Judge."}, "has no {CONTENT}", "Correct the configuration"),
        ({"judge": {"backend": "tests.engine.judges.LetterJudge"}}, "the judge is a LetterJudge, which has no prompts", "grading.graders.Grader"),
    ],
)
def test_what_is_wrong_and_what_to_do_are_said(make_search, monkeypatch, changes, error, advice):
    folder = make_search("bad", **changes)
    assert run_here(folder, monkeypatch) == 1
    assert error in result(folder)["error"]
    assert advice in result(folder)["advice"]


@pytest.mark.parametrize(
    ("name", "row", "error"),
    [
        ("examples.jsonl", '{"id": 1, "content": "a"}', "an example lacks 'instructions'"),
        ("examples.jsonl", "", "none of the 0 examples can be learnt from"),
        ("validation.jsonl", '{"id": 1}', "a validation case lacks id, group"),
        ("validation.jsonl", "", "none of the 8 candidates can be chosen"),
    ],
)
def test_rows_that_will_not_do_are_named(make_search, monkeypatch, name, row, error):
    folder = make_search("rows")
    (folder / name).write_text(row)
    assert run_here(folder, monkeypatch) == 1
    assert error in result(folder)["error"]


def test_the_methods_are_those_of_the_paper():
    assert search.METHODS == ("rubric", "few-shot", "few-shot-prefilled", "per-prompt-rubric", "per-prompt-few-shot")
