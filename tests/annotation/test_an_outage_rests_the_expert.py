"""A server that does not answer is left alone, longer each time; one task finds out when it is back, and all goes on by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from annotation import actions, outages, querysets, tasks
from annotation.actions.outages import FIRST, LONGEST, SEVERAL
from annotation.models import AuditEntry, Batch, Claim, Expert, Feedback, Item, Outage
from grading.errors import GraderError, Retry
from tests.annotation.claude import KEY, Claude, entry
from tests.annotation.makers import make_batch, make_claude, make_program, states
from training import asking

pytestmark = pytest.mark.slow

OVERLOADED = GraderError("it is overloaded", retry=Retry.after(0))


@pytest.fixture
def server(monkeypatch, settings, db):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with Claude().running() as running:
        settings.EXPERTS = settings.EXPERTS | {
            "claude": entry(running.url, batch=False),
            "claude-batch": entry(running.url, batch=True, poll_seconds=0.0),
        }
        yield running


def attempt(batch: Batch) -> int:
    """The task runs once; how many it answered."""
    try:
        return tasks.answer_batch(batch.pk)
    except GraderError:
        return 0


def pass_time(seconds: float) -> None:
    """As if so many seconds had passed for all that rest."""
    for row in Outage.objects.all():
        row.not_before -= timedelta(seconds=seconds)
        row.last -= timedelta(seconds=seconds)
        row.save()


def fail(batch: Batch, exc: Exception = OVERLOADED, at: datetime | None = None) -> float:
    now = at or timezone.now()
    return actions.expert_failed(batch, exc, began=now, now=now)


def test_during_an_outage_few_calls_are_made_and_afterwards_everything_goes_on_and_is_answered_once(server, domain):
    claude = make_claude()
    batches = [make_batch(claude, domain, 40) for _ in range(3)]
    server.down = True
    calls = []
    for _ in range(40):  # 40 rounds of the sweep, 30 s apart: 20 minutes
        before = server.posted()
        for batch in querysets.unattended(timezone.now()):
            attempt(batch)
        calls.append(server.posted() - before)
        assert all(set(states(batch)) == {"ready"} for batch in batches)  # others may claim them
        pass_time(30)
    assert not Claim.objects.filter(ended=None).exists()
    # While it is not clear yet a call takes what a chunk takes; from then on one text at a time.
    assert set(calls[SEVERAL:]) == {0, 1}
    assert sum(calls[SEVERAL:]) <= 6  # after 30, 60, 120, 240, 480 s
    server.down = False
    server.answered.clear()
    for _ in range(40):
        for batch in querysets.unattended(timezone.now()):
            attempt(batch)
        pass_time(30)
    assert all(batch.closed for batch in Batch.objects.all())
    assert Feedback.objects.count() == Item.objects.filter(state="done").count() == 120
    assert len(server.answered) == 120
    assert not Outage.objects.exists()
    assert AuditEntry.objects.filter(verb="expert answers again").count() == 1


def test_one_task_tries_alone_and_with_one_text_while_the_others_wait(server, domain):
    claude = make_claude()
    first, second = make_batch(claude, domain, 40), make_batch(claude, domain, 40)
    for _ in range(SEVERAL):
        fail(first)
        pass_time(FIRST)
    assert actions.may_ask(first) == 1
    assert actions.may_ask(second) is None
    assert not querysets.unattended(timezone.now()).exists()
    assert attempt(second) == server.posted() == 0
    Outage.objects.update(probe_until=timezone.now())  # who tried was killed, and its lease is over
    assert actions.may_ask(second) == 1
    actions.probe_over(second)
    assert attempt(first) == 40
    assert actions.may_ask(second) == 0


def test_one_that_finds_nothing_to_ask_lets_another_try(server, domain):
    claude = make_claude()
    empty, full = make_batch(claude, domain, 1), make_batch(claude, domain, 1)
    actions.claim_next(expert=claude, batch=empty)
    for _ in range(SEVERAL):
        fail(empty)
    pass_time(FIRST)
    assert attempt(empty) == 0
    assert attempt(full) == 1


def test_the_rest_grows_to_a_quarter_of_an_hour_and_is_never_shorter_than_the_server_asks(domain):
    batch, now = make_batch(make_program(), domain), timezone.now()
    rests = []
    for _ in range(10):
        rests.append(fail(batch, at=now))
        now += timedelta(seconds=rests[-1] + 1)
    assert rests == [0, 0, 30, 60, 120, 240, 480, LONGEST, LONGEST, LONGEST]
    assert fail(batch, GraderError("later", retry=Retry.after(4000)), at=now) == 4000


def test_what_fails_at_the_same_moment_counts_once(domain):
    batch, now = make_batch(make_program(), domain), timezone.now()
    for seconds in range(8):  # eight workers, whose calls began before any had failed
        actions.expert_failed(batch, OVERLOADED, began=now, now=now + timedelta(seconds=1 + seconds))
    assert Outage.objects.get().failures == 1


def test_a_failure_of_one_batch_alone_rests_no_other(domain):
    program = make_program()
    sick, well = make_batch(program, domain), make_batch(program, domain)
    assert fail(sick, RuntimeError("gave 0 verdicts on 1 cases")) == 600
    assert actions.may_ask(sick) is None
    assert list(querysets.unattended(timezone.now())) == [well]
    assert tasks.answer_batch(well.pk) == 1
    assert actions.may_ask(sick) is None  # that the other went well does not mend it
    assert "cannot answer this batch since" in outages.words(sick)
    assert "RuntimeError: gave 0 verdicts" in outages.words(sick)


def test_other_experts_go_on(domain):
    broken, fine = make_program("broken", backend="overloaded"), make_program("fine")
    attempt(make_batch(broken, domain))
    batch = make_batch(fine, domain)
    assert list(querysets.unattended(timezone.now())) == [batch]
    assert tasks.answer_batch(batch.pk) == 1


def test_what_an_outage_means_is_said_in_words(domain, settings):
    claude = make_program("claude", kind=Expert.Kind.LLM)
    batch = make_batch(claude, domain, experiment="stories")
    start = datetime(2026, 11, 25, 14, 2, tzinfo=UTC)
    for minutes in (0, 1, 3, 5):
        now = start + timedelta(minutes=minutes)
        fail(batch, GraderError("529 overloaded", retry=Retry.after(600)), at=now)
    assert outages.words(batch, now) == "Claude has not answered since 14:02 UTC (529 overloaded); it is tried again at 14:17."
    assert outages.words(batch, start + timedelta(hours=1)).endswith("it is being tried again now.")
    assert "since 2026-11-25 14:02 UTC" in outages.words(batch, start + timedelta(days=1))

    class Stage:
        purpose, step = "update", 4

    class Experiment:
        expert = claude

    assert "Claude has not answered since" in asking.waiting(Experiment(), Stage(), batch, 1).note
    actions.expert_answered(batch)
    assert outages.words(batch) == ""


@pytest.mark.django_db(transaction=True)
def test_an_outage_of_the_provider_of_batches_gives_the_items_back_and_pays_nothing_twice(server, domain):
    batch = make_batch(make_claude("claude-batch"), domain, 10)
    server.down = True
    assert attempt(batch) == 0
    assert states(batch) == ["ready"] * 10
    server.down = False
    pass_time(60)
    assert attempt(batch) == 10
    assert sum(server.sent_in_batches().values()) == 10
