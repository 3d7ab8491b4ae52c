"""The task prompt is optimised by GEPA on the expert's feedback: within its budget, and without asking anybody twice."""

from __future__ import annotations

import shutil

import pytest

from tests.engine.conftest import LETTERS, ROOT, change, lines, result, run_here, run_job, scripted
from tests.grading.servers import vllm
from training.engine.optimise import MINIBATCH
from training.engine.reflective import digest, refusal

FILES = ("rollouts.jsonl", "reflections.jsonl")


@pytest.mark.parametrize("calls", [14, 31, 60])
def test_a_better_prompt_is_found_and_no_verdict_too_many_is_asked_for(make_job, monkeypatch, calls):
    folder = make_job("fine", "optimise", calls=calls)
    assert run_here(folder, monkeypatch) == 0
    done, rows = result(folder), lines(folder, "rollouts.jsonl")
    # What is left over is less than a round may take: old and new prompt on a minibatch, the new one on 4 validation tasks.
    assert calls - (2 * MINIBATCH + 4) < len(rows) == done["calls"] <= calls
    assert done["candidates"][0]["prompt"] == "Write. topic: {TOPIC}"
    best = max(done["candidates"], key=lambda candidate: candidate["score"])
    assert done["prompt"] == best["prompt"]
    assert best["score"] > done["candidates"][0]["score"]
    assert done["prompt"].startswith("please ")
    last = lines(folder, "metrics.jsonl")[-1]
    assert (last["done"], last["total"]) == (len(rows), calls)


@pytest.mark.vllm
@pytest.mark.slow
def test_a_policy_in_a_folder_can_write_in_a_vllm_of_the_job_s_own(make_job, monkeypatch):
    monkeypatch.delattr("grading.models.transformers.TransformersModel")  # nothing writes in this process
    folder = make_job("served", "optimise", policy=str(vllm.BASE), serve=vllm.COMMAND, calls=14)
    assert run_here(folder, monkeypatch) == 0, result(folder)
    rows = lines(folder, "rollouts.jsonl")
    assert len(rows) == result(folder)["calls"] > 4
    assert all(row["completion"] and row["tokens"] for row in rows)


def test_each_verdict_is_a_row_that_says_what_was_asked_and_what_was_said(make_job, monkeypatch):
    folder = make_job("rows", "optimise", checkpoint="ab" * 32)
    assert run_here(folder, monkeypatch) == 0
    rows, done = lines(folder, "rollouts.jsonl"), result(folder)
    assert len({(row["step"], row["prompt"], row["index"]) for row in rows}) == len(rows)
    assert all(row["verdict"]["score"] == row["reward"] and row["verdict"]["critique"] and row["grades"] == [] for row in rows)
    assert {row["checkpoint"] for row in rows} == {"ab" * 32}
    first = [row for row in rows if row["step"] == 0]
    assert [row["prompt"] for row in first] == [20, 21, 22, 23]
    assert {row["sampling"]["prompt"] for row in first} == {digest("Write. topic: {TOPIC}")}
    # A mean of the expert's points, as these rows have them.
    assert done["candidates"][0]["score"] == pytest.approx(sum(row["reward"] for row in first) / 4)


def test_the_reflection_model_reads_the_experts_words_beside_task_and_text(make_job, monkeypatch):
    folder = make_job("words", "optimise")
    assert run_here(folder, monkeypatch) == 0
    prompt = lines(folder, "reflections.jsonl")[0]["prompt"]
    rows = [row for row in lines(folder, "rollouts.jsonl") if row["step"] == 1]
    assert "Write. topic: {TOPIC}" in prompt
    assert "Keep {TOPIC} as they are" in prompt
    for row in rows:
        assert row["completion"] in prompt
        assert f"{row['verdict']['critique']}\n\nScore: {row['reward']:g}" in prompt


def test_the_expert_reads_the_task_as_the_domain_words_it(make_job, monkeypatch):
    """A prompt that asks for less must not be judged by the less that it asks for."""
    folder = make_job("watched", "optimise", judge={"backend": "tests.engine.judges.Quoting", "options": {}})
    assert run_here(folder, monkeypatch) == 0
    assert {row["verdict"]["raw"] for row in lines(folder, "rollouts.jsonl")} == {f"Write about {i}." for i in range(4)}


@pytest.mark.parametrize("at", [1, 3, 8])
def test_a_job_killed_and_resumed_ends_as_an_undisturbed_one(make_job, monkeypatch, at):
    whole, killed = make_job("whole", "optimise"), make_job("killed", "optimise")
    change(killed, judge={**LETTERS, "options": {"kill": str(killed / "was-killed"), "at": at}})
    assert run_job(killed).returncode == -9
    assert not (killed / "result.json").exists()
    assert [run_here(folder, monkeypatch) for folder in (whole, killed)] == [0, 0]
    assert result(killed) == result(whole)
    assert all((killed / name).read_bytes() == (whole / name).read_bytes() for name in FILES)


def test_a_verdict_or_a_proposal_that_was_had_before_a_crash_is_not_asked_for_again(make_job, monkeypatch):
    folder = make_job("moody", "optimise", judge={**LETTERS, "options": {"moody": True}})
    assert run_here(folder, monkeypatch) == 0
    broken = folder.parent / "broken"
    shutil.copytree(folder, broken)
    (broken / "result.json").unlink()
    for name, kept in zip(FILES, (11, 1), strict=True):  # 11 verdicts: in the midst of a step
        whole = (folder / name).read_bytes().splitlines(keepends=True)
        (broken / name).write_bytes(b"".join(whole[:kept]) + whole[kept][:20])
    assert run_here(broken, monkeypatch) == 0
    assert lines(broken, "rollouts.jsonl")[:11] == lines(folder, "rollouts.jsonl")[:11]
    assert lines(broken, "reflections.jsonl")[0] == lines(folder, "reflections.jsonl")[0]
    assert result(broken)["calls"] == len(lines(broken, "rollouts.jsonl")) <= 60


def test_a_job_that_was_stopped_goes_on_where_it_stood(make_job, monkeypatch):
    whole, broken = make_job("whole", "optimise"), make_job("broken", "optimise")
    change(broken, judge={**LETTERS, "options": {"stop": str(broken / "stop"), "at": 3}})
    assert run_here(broken, monkeypatch) == 0
    stopped = result(broken)
    assert stopped == {"status": "stopped", "calls": len(lines(broken, "rollouts.jsonl"))}
    assert stopped["calls"] < 60
    change(broken, judge=LETTERS)
    assert [run_here(folder, monkeypatch) for folder in (whole, broken)] == [0, 0]
    assert result(broken) == result(whole)
    assert lines(broken, "rollouts.jsonl") == lines(whole, "rollouts.jsonl")


def test_a_prompt_that_lost_its_placeholder_is_refused_unasked_and_the_reason_is_fed_back(make_job, monkeypatch):
    folder = make_job("forgetful", "optimise", reflection=scripted("forgetful"), calls=20)
    assert run_here(folder, monkeypatch) == 0
    rows, (first, second, *_) = lines(folder, "rollouts.jsonl"), lines(folder, "reflections.jsonl")
    assert result(folder)["prompt"] == "Write. topic: {TOPIC}"
    assert len(result(folder)["candidates"]) == 1
    assert {row["sampling"]["prompt"] for row in rows} == {digest("Write. topic: {TOPIC}")}
    assert "refused" not in first["prompt"]
    assert "please write\n\n## Feedback\nThis prompt was refused: it has lost {TOPIC}, and so the task itself." in second["prompt"]


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("Write of {TOPIC} in {STYLE}, {no} {LENGTH or so}.", ""),
        ("Write of {TOPIC}.", "it has lost {STYLE}, and so the task itself"),
        ("Write of {TOPIC} in {STYLE} for {READER}.", "nothing fills {READER}"),
        (" ", "it is empty, or its writer did not come to the end"),
    ],
)
def test_a_prompt_needs_all_placeholders_and_no_others(prompt, reason):
    assert refusal(prompt, "{STYLE}: {TOPIC}") == reason


def test_a_text_without_a_score_is_written_down_as_that(make_job, monkeypatch):
    folder = make_job("unscored", "optimise", judge={**LETTERS, "options": {"unscored": 2}})
    assert run_here(folder, monkeypatch) == 0
    unscored = [row for row in lines(folder, "rollouts.jsonl") if row["reward"] is None]
    assert unscored
    assert all(row["verdict"]["score"] is None and row["verdict"]["unscored_reason"] == "no score" for row in unscored)


def test_an_expert_that_never_gives_a_score_ends_the_job_at_once(make_job, monkeypatch):
    folder = make_job("speechless", "optimise", judge={**LETTERS, "options": {"speechless": 1}})
    assert run_here(folder, monkeypatch) == 1
    assert result(folder)["error"] == "the expert scored none of the texts that the prompt gives as it is (no score)"
    assert len(lines(folder, "rollouts.jsonl")) == 4


def test_a_reflection_model_that_is_away_fails_the_job_instead_of_spending_its_budget(make_job, monkeypatch):
    whole, folder = make_job("whole", "optimise"), make_job("away", "optimise", reflection=scripted("away"))
    assert run_here(folder, monkeypatch) == 1
    assert "it could not be reached" in result(folder)["error"]
    assert len(lines(folder, "rollouts.jsonl")) == 4 + MINIBATCH
    change(folder, reflection=scripted("polite"))
    assert [run_here(one, monkeypatch) for one in (whole, folder)] == [0, 0]
    assert result(folder) == result(whole)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"calls": 13}, "13 verdicts are too few: 4 judge the prompt as it is, and trying another takes up to 10"),
        ({"generation_prompt": "Write {STYLE}."}, "train, task 10: the prompt needs STYLE"),
        ({"train": [{"id": 1, "text": "Write.", "variables": {}}]}, "train, task 1: the prompt needs TOPIC"),
        ({"train": [{"id": 1, "variables": {"TOPIC": "a"}}]}, "train: a task lacks id, text or variables"),
        ({"validation": []}, "validation holds no tasks"),
        ({"score_range": [5, 5]}, "score_range: [5, 5] is no range"),
        ({"policy": "/nowhere"}, "policy: there is no model in /nowhere"),
    ],
)
def test_a_job_that_could_not_end_well_says_why(make_job, monkeypatch, changes, words):
    folder = make_job("bad", "optimise", **changes)
    assert run_here(folder, monkeypatch) == 1
    assert words in result(folder)["error"]


def test_files_of_another_job_are_not_taken_for_its_own(make_job, monkeypatch):
    folder = make_job("changed", "optimise")
    assert run_here(folder, monkeypatch) == 0
    (folder / "result.json").unlink()
    change(folder, generation_prompt="Write it. topic: {TOPIC}")
    assert run_here(folder, monkeypatch) == 1
    assert result(folder)["error"] == "rollouts.jsonl was made by another job"


@pytest.mark.training
def test_the_pocket_policy_is_asked_in_other_words(make_job, monkeypatch):
    task = {"text": "Write a short story about a key and a tower.", "variables": {"OBJECT": "key", "PLACE": "tower"}}
    folder = make_job(
        "pocket",
        "optimise",
        policy=str(ROOT / "training" / "pocket" / "base"),
        generation_prompt="Write a short story about a {OBJECT} and a {PLACE}.",
        train=[{"id": 1, **task}],
        validation=[{"id": 2, **task}],
        judge={"backend": "training.pocket.expert.PocketExpert", "options": {}},
        reflection={"backend": "training.pocket.reflect.PocketReflection", "options": {}},
        calls=12,
        sampling={"temperature": 1.0, "max_tokens": 76},
    )
    assert run_here(folder, monkeypatch) == 0
    asked = {row["sampling"]["prompt"] for row in lines(folder, "rollouts.jsonl")}
    assert len(asked) > 1
    assert all("{OBJECT}" in candidate["prompt"] and "{PLACE}" in candidate["prompt"] for candidate in result(folder)["candidates"])
