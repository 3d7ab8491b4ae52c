"""Feedback as JSON lines, each with where everything in it comes from."""

from __future__ import annotations

import json
import tracemalloc
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from annotation import actions, export, tasks
from annotation.actions import Passage
from annotation.models import Claim, Feedback, Rollout
from tests.annotation.makers import WORDS, claim_one, expire, make_batch, make_domain, make_panel, make_program, submit


def exported(*options):
    out = StringIO()
    call_command("export_feedback", *options, stdout=out, stderr=StringIO())
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_row_says_who_judged_what_and_when_and_what_it_rests_on(domain, panel, alice):
    batch = make_batch(panel, domain, 1, proxy="p" * 64, experiment="exp", strategy="max-variance")
    Rollout.objects.update(checkpoint="c" * 64, step=30)
    feedback = submit(claim_one(alice), user=alice, score=62.5, spans=[Passage(0, 5, "Story", "+", "Good.")])
    (row,) = exported()
    expected = {
        "id": feedback.pk,
        "reviewer": "alice",
        "expert": "panel",
        "experiment": "exp",
        "batch": batch.key,
        "purpose": "update",
        "strategy": "max-variance",
        "split": "train",
        "step": 30,
        "checkpoint": "c" * 64,
        "proxy": "p" * 64,
        "content": "Story 0.",
        "score": 62.5,
        "critique": WORDS,
        "revision": 1,
        "counted": True,
        "spans": [{"start": 0, "end": 5, "quote": "Story", "sign": "+", "comment": "Good."}],
    }
    assert {key: row[key] for key in expected} == expected
    assert len(row["prompt_digest"]) == len(row["grading_prompt_digest"]) == 64
    assert row["seconds"] == pytest.approx(feedback.seconds)


def test_a_programs_verdicts_carry_its_alias_and_options(domain):
    batch = make_batch(make_program(), domain)
    tasks.answer_batch(batch.pk)
    (row,) = exported()
    assert (row["reviewer"], row["expert_options"]["backend"]) == ("program", "tests.annotation.makers.FairJudge")


def test_only_what_stands_and_counts_is_written_unless_all_is_wanted(domain, panel, alice, bob):
    make_batch(panel, domain)
    late = claim_one(alice)
    expire(late)
    first = submit(claim_one(bob), user=bob)
    submit(late, user=alice)
    actions.revise_feedback(first, key="r", user=bob, reason="Misread.", critique="Better.", score=20)
    assert [row["critique"] for row in exported()] == ["Better."]
    assert [(row["revision"], row["current"], row["counted"]) for row in exported("--all")] == [(1, False, True), (1, True, False), (2, True, True)]


def test_it_can_be_narrowed_and_says_plainly_what_there_is_not(domain, panel, alice):
    others = make_domain("others")
    for each, name in [(domain, "one"), (others, "two")]:
        make_batch(panel, each, experiment=name, key=f"{name}/ask", purpose="eval" if name == "two" else "update")
        submit(claim_one(alice), user=alice)
    for option in ["--domain=others", "--experiment=two", "--batch=two/ask", "--purpose=eval"]:
        assert [row["experiment"] for row in exported(option)] == ["two"]
    for option in ["--domain=none", "--experiment=none", "--batch=none"]:
        with pytest.raises(CommandError, match="none"):
            exported(option)


def test_a_file_is_replaced_only_once_everything_is_written(domain, panel, alice, tmp_path):
    make_batch(panel, domain)
    submit(claim_one(alice), user=alice)
    file = tmp_path / "feedback.jsonl"
    assert exported("-o", str(file)) == []
    assert json.loads(file.read_text())["reviewer"] == "alice"
    assert [path.name for path in tmp_path.iterdir()] == ["feedback.jsonl"]
    with pytest.raises(CommandError, match="Cannot write"):
        exported("-o", str(tmp_path / "no" / "where.jsonl"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(domain):
    def peak(count):
        batch = make_batch(make_panel(alias=f"panel{count}"), domain, count)
        shared = {"expert": batch.expert, "critique": "x" * 5_000, "started": batch.created}
        claims = [Claim(item=item, expires=batch.created) for item in batch.items.all()]
        Feedback.objects.bulk_create(Feedback(item=claim.item, key=f"{count}-{i}", **shared) for i, claim in enumerate(claims))
        tracemalloc.start()
        assert sum(1 for _ in export.rows(Feedback.objects.filter(item__batch=batch))) == count
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(2400) < 1.5 * peak(800)
