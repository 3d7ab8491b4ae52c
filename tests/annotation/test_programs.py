"""Programs and language models as experts: the same doors, and no item lost when they fail."""

from __future__ import annotations

import base64
import json
import logging
from datetime import timedelta

import kombu.pools
import pytest
import redis
from django.utils import timezone

from annotation import actions, experts, querysets, tasks
from annotation.actions.outages import FAILED
from annotation.errors import NotYours
from annotation.models import AuditEntry, Batch, Claim, Expert, Feedback, Outage
from config.celery import app
from grading.errors import ConfigurationError, GraderError
from tests.annotation.makers import expire, make_batch, make_panel, make_program, make_rollouts, scores, states, submit

QUEUE = "touchstone:default"


def test_a_program_answers_its_batch_with_words_and_scores(domain):
    batch = make_batch(make_program(options={}), domain, 40)
    assert tasks.answer_batch(batch.pk) == 40
    rows = list(querysets.verdicts(batch))
    assert (rows[0].score, rows[0].critique) == (len("Story 0."), "It has 8 characters.")
    assert {row.key for row in rows} == {f"claim-{row.claim.token}" for row in rows}
    assert Batch.objects.get().closed is not None
    assert tasks.answer_batch(batch.pk) == 0


def test_the_pocket_expert_answers_the_same_whenever_it_is_asked_with_the_same_seed(domain):
    pool = make_rollouts(domain, 10)
    batches = [make_batch(make_program(f"p{i}", backend="pocket"), domain, order, seed=7) for i, order in enumerate([pool, pool[::-1]])]
    for batch in batches:
        tasks.answer_batch(batch.pk)
    assert scores(querysets.verdicts(batches[0])) == scores(querysets.verdicts(batches[1]))[::-1]


def test_several_verdicts_of_one_program_on_one_rollout_do_not_share_their_noise(domain):
    batch = make_batch(make_program(backend="pocket"), domain, 8, reviewers=2)
    tasks.answer_batch(batch.pk)
    values = scores(querysets.verdicts(batch))
    assert values[:8] != values[8:]


def test_a_language_model_draws_by_seed_and_place_whatever_was_in_the_database_before(domain):
    pool, critic = make_rollouts(domain, 40), make_program(backend="dicing", kind=Expert.Kind.LLM)
    drawn = []
    for seed in (7, 7, 8):
        batch = make_batch(critic, domain, pool, seed=seed)
        tasks.answer_batch(batch.pk)
        drawn.append(scores(querysets.verdicts(batch)))
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) > 10


def test_when_the_model_is_overloaded_the_items_wait_and_the_sweep_asks_again_later(domain, caplog):
    caplog.set_level(logging.ERROR)
    batch = make_batch(make_program(backend="overloaded"), domain, 3)
    with pytest.raises(GraderError):
        tasks.answer_batch(batch.pk)
    assert states(batch) == ["ready"] * 3
    assert set(Claim.objects.values_list("outcome", flat=True)) == {"released"}
    entry = AuditEntry.objects.get(verb=FAILED)
    assert "overloaded" in entry.data["error"]
    batch.expert.backend = "fair"
    batch.expert.save()
    assert not querysets.unattended(timezone.now()).exists()
    assert tasks.answer_batch(batch.pk) == 0
    assert list(querysets.unattended(timezone.now() + timedelta(seconds=31))) == [batch]
    Outage.objects.update(not_before=timezone.now())
    assert tasks.answer_batch(batch.pk) == 3
    assert not Outage.objects.exists()


def test_what_was_had_before_the_connection_broke_is_kept_and_only_the_rest_is_asked_again(domain):
    batch = make_batch(make_program(backend="broken-off"), domain, 5)
    with pytest.raises(GraderError, match="dropped"):
        tasks.answer_batch(batch.pk)
    assert states(batch) == ["done", "done", "ready", "ready", "ready"]
    with pytest.raises(GraderError):
        tasks.answer_batch(batch.pk)
    assert tasks.answer_batch(batch.pk) == 1
    assert Feedback.objects.count() == querysets.verdicts(batch).count() == 5


@pytest.mark.parametrize(("backend", "error"), [("locked-out", GraderError), ("short", RuntimeError), ("gone", ConfigurationError)])
def test_any_failure_leaves_the_items_claimable_and_says_why(backend, error, domain):
    batch = make_batch(make_program(backend=backend), domain, 3)
    with pytest.raises(error):
        tasks.answer_batch(batch.pk)
    assert states(batch) == ["ready"] * 3
    assert not Feedback.objects.exists()
    assert AuditEntry.objects.get(verb=FAILED).data["error"].startswith(error.__name__)


def test_a_text_that_the_model_declines_is_unscored_and_takes_no_other_with_it(domain):
    batch = make_batch(make_program(backend="squeamish", kind=Expert.Kind.LLM), domain, 5)
    tasks.answer_batch(batch.pk)
    assert scores(querysets.verdicts(batch)) == [8, 8, 8, None, 8]
    assert querysets.verdicts(batch)[3].unscored_reason.startswith("declined")


def test_what_is_no_verdict_is_kept_unscored_and_counts_as_paid(domain):
    batch = make_batch(make_program(backend="mumbling", kind=Expert.Kind.LLM), domain, 3)
    tasks.answer_batch(batch.pk)
    rows = list(querysets.verdicts(batch))
    assert [(row.score, row.counted) for row in rows] == [(None, True)] * 3
    assert rows[0].unscored_reason == "no score found"
    assert "from 0 to 100" in rows[1].unscored_reason
    assert rows[1].critique == "Great!"
    assert rows[2].unscored_reason


def test_a_late_program_lands_as_extra_without_standing_in_anybodys_way(domain):
    program = make_program()
    batch = make_batch(program, domain)
    (late,) = actions.claim_next(expert=program)
    expire(late)
    assert tasks.answer_batch(batch.pk) == 1
    row = submit(late)
    assert (row.counted, row.current) == (False, False)
    assert querysets.verdicts(batch).count() == 1


def test_a_person_cannot_answer_for_a_program(domain, carol):
    program = make_program()
    make_batch(program, domain)
    (claim,) = actions.claim_next(expert=program)
    with pytest.raises(NotYours):
        submit(claim, user=carol)


def test_a_task_leaves_the_batches_of_people_and_of_inactive_experts_alone(domain, panel):
    assert tasks.answer_batch(make_batch(panel, domain).pk) == 0
    assert tasks.answer_batch(make_batch(make_program(active=False), domain).pk) == 0


@pytest.fixture
def sent(settings):
    """Batches that the broker holds the task for, in order; it is emptied first."""
    broker = redis.Redis.from_url(settings.REDIS_URL)
    broker.delete(QUEUE)

    def read() -> list[int]:
        messages = [json.loads(raw) for raw in reversed(broker.lrange(QUEUE, 0, -1))]
        return [json.loads(base64.b64decode(message["body"]))[0][0] for message in messages]

    yield read
    broker.delete(QUEUE)


@pytest.mark.django_db(transaction=True)
def test_a_batch_for_a_program_is_sent_for_answering_when_it_is_made_and_found_by_the_sweep_when_dropped(domain, alice, sent):
    program = make_program()
    batch = make_batch(program, domain, 2)
    make_batch(make_panel(alice), domain)
    make_batch(program, domain, 2, purpose=Batch.Purpose.REWARD)
    failed = make_batch(make_program("locked", backend="locked-out"), domain)
    with pytest.raises(GraderError):
        tasks.answer_batch(failed.pk)
    assert sent() == [batch.pk, failed.pk]
    assert tasks.sweep() == {"expired": 0, "closed": 0, "restarted": 1}
    assert sent()[2:] == [batch.pk]
    (claim,) = actions.claim_next(expert=program, batch=batch)
    assert tasks.sweep()["restarted"] == 0  # somebody is at work on it
    Claim.objects.filter(pk=claim.pk).update(expires=timezone.now())
    assert tasks.sweep() == {"expired": 1, "closed": 0, "restarted": 1}


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_does_not_keep_a_batch_from_being_made(domain, caplog):
    before = app.conf.broker_url
    try:
        use_broker("redis+socket:///nowhere/valkey.sock")
        batch = make_batch(make_program(), domain, 2)
    finally:
        use_broker(before)
    assert Batch.objects.get() == batch
    assert "the sweep will" in caplog.text


def use_broker(url: str) -> None:
    app.conf.broker_url = url
    kombu.pools.reset()
    app._pool = app.amqp._producer_pool = None


def test_the_experts_own_options_override_the_settings(settings):
    settings.EXPERTS = {"opus": {"BACKEND": "a.B", "OPTIONS": {"model": "large", "api_key": "secret", "max_tokens": 9}}}
    expert = Expert(alias="opus", name="Opus", kind=Expert.Kind.LLM, backend="opus", options={"model": "small"})
    assert experts.judge_config(expert) == {"backend": "a.B", "options": {"model": "small", "api_key": "secret", "max_tokens": 9}}


def test_what_is_kept_with_a_verdict_holds_no_secret_at_any_depth(settings):
    options = {"api_key": "x", "model": {"options": {"token": "x", "max_tokens": 9, "headers": [{"Authorization": "x"}]}}}
    settings.EXPERTS = {"opus": {"BACKEND": "a.B", "OPTIONS": options}}
    expert = Expert(alias="opus", kind=Expert.Kind.LLM, backend="opus")
    assert experts.snapshot(expert)["options"] == {"model": {"options": {"max_tokens": 9, "headers": [{}]}}}


def test_people_have_no_judge(panel):
    with pytest.raises(ConfigurationError, match="review page"):
        experts.judge_config(panel)
    assert experts.snapshot(panel) == {"kind": "human"}
