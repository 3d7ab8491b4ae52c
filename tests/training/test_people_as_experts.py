"""An experiment whose expert is people waits for them, holds nothing meanwhile, and learns their very words."""

from __future__ import annotations

import json

import pytest

from annotation import actions as queue
from annotation.models import Batch
from training import actions, dispatch, drive, follow, runner
from training.models import Experiment, Job

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def waiting(make, panel) -> Experiment:
    """One that has come to its first question: 4 verdicts, chosen by max-variance."""
    experiment = actions.start(make(expert=panel, eval_prompts=0, initial=4, pool=12, strategy="max-variance", steps=2))
    until_nothing_moves(experiment)
    return experiment


def until_nothing_moves(experiment: Experiment) -> None:
    """Advance and follow jobs, as workers would; return when only people can go on."""
    with dispatch.inline():
        while True:
            runner.advance(experiment.pk)
            job = experiment.jobs.filter(state=Job.State.QUEUED).first()
            if job is None or not follow.run(job.pk):
                break
    experiment.refresh_from_db()


def answer(user, critique: str, score: float | None, **more) -> None:
    (claim,) = queue.claim_next(user=user)
    queue.submit_feedback(claim.token, key=str(claim.token), critique=critique, score=score, user=user, **more)


def test_it_says_what_it_waits_for_and_nothing_runs(waiting) -> None:
    assert waiting.state == Experiment.State.WAITING
    assert waiting.note == "Waiting for experts: 4 of 4 verdicts are still to come before the proxy is realigned for step 0."
    assert not waiting.jobs.exclude(state=Job.State.DONE).exists()


def test_the_note_follows_as_the_verdicts_come(waiting, rosa) -> None:
    answer(rosa, "Good.", 80)
    until_nothing_moves(waiting)
    assert waiting.note.startswith("Waiting for experts: 3 of 4 verdicts are")


def test_it_goes_on_with_the_last_verdict_and_learns_those_words(waiting, rosa) -> None:
    said = {f"The lighthouse should speak {i} times.": 20.0 * i for i in range(4)}
    for critique, score in said.items():
        answer(rosa, critique, score, deliberation="I weighed it.")
    until_nothing_moves(waiting)
    assert waiting.state == Experiment.State.DONE
    rows = [json.loads(line)["completion"] for line in (waiting.jobs.get(key="realign-0").path / "examples.jsonl").open()]
    expected = {f"<critique>{c}</critique><deliberation>I weighed it.</deliberation><score>{s:.0f}</score>" for c, s in said.items()}
    assert {row.replace("\n", "") for row in rows} == expected


def test_a_correction_is_learnt_as_it_stands_and_costs_nothing_more(waiting, rosa) -> None:
    from annotation.models import Feedback
    from training.budget import spent

    for score in (10, 20, 30, 40):
        answer(rosa, f"Worth {score}.", score)
    queue.revise_feedback(Feedback.objects.get(score=10), key="k", user=rosa, critique="Worth 15 after all.", score=15, reason="second thoughts")
    until_nothing_moves(waiting)
    text = (waiting.jobs.get(key="realign-0").path / "examples.jsonl").read_text()
    assert "Worth 15 after all." in text
    assert "Worth 10." not in text
    assert spent(waiting) == {"initial": 4}


def test_verdicts_without_a_score_are_left_out_and_counted(waiting, rosa, domain) -> None:
    domain.score_required = False
    domain.save()
    answer(rosa, "No number from me.", None)
    for score in (10, 20, 30):
        answer(rosa, "Fair.", score)
    until_nothing_moves(waiting)
    assert waiting.stages.get(key="realign-0").outcome == {"proxy": 2, "examples": 3, "skipped": 1}


def test_where_nothing_can_be_learnt_it_fails_with_what_to_do_and_resumes_when_that_is_done(waiting, rosa, domain) -> None:
    domain.score_required = False
    domain.save()
    for _ in range(4):
        answer(rosa, "No number from me.", None)
    until_nothing_moves(waiting)
    assert waiting.state == Experiment.State.FAILED
    assert waiting.note.startswith("None of the 4 verdicts for step 0 can be learnt from: each lacks a score or a critique. Have them completed")
    item = Batch.objects.get(purpose="initial").items.first()
    queue.reopen(item, actor=None, reason="a score is needed")
    answer(rosa, "Now with a score.", 50)
    actions.resume(waiting)
    until_nothing_moves(waiting)
    assert waiting.state == Experiment.State.DONE


def test_when_everybody_has_passed_it_says_so(waiting, rosa) -> None:
    for _ in range(4):
        (claim,) = queue.claim_next(user=rosa)
        queue.decline(claim.token, user=rosa, reason="conflict")
    until_nothing_moves(waiting)
    assert "Everybody on the panel has declined or judged 4 of these" in waiting.note


def test_a_batch_that_is_closed_early_teaches_with_what_came(waiting, rosa) -> None:
    answer(rosa, "Good.", 80)
    queue.close_batch(Batch.objects.get(purpose="initial"), reason="enough")
    until_nothing_moves(waiting)
    assert waiting.stages.get(key="realign-0").outcome["examples"] == 1
    assert waiting.state == Experiment.State.DONE


def test_stopping_takes_the_question_back(waiting, rosa) -> None:
    actions.stop(waiting, reason="wrong prompts", actor=rosa)
    assert queue.claim_next(user=rosa) == []
    drive.drive(waiting.pk)
    waiting.refresh_from_db()
    assert (waiting.state, waiting.note) == (Experiment.State.STOPPED, "Stopped: wrong prompts")
