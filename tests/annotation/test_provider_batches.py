"""Batches at the expert's provider: asked once, kept by id, waited for by nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from annotation import actions, outages, provider, querysets, tasks
from annotation.actions.waiting import provider_ids
from annotation.models import Batch, Claim, Feedback, Item
from grading.errors import ConfigurationError, GraderError, StillRunning
from tests.annotation.claude import KEY, Claude, entry
from tests.annotation.makers import make_batch, make_claude, make_user, states

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(monkeypatch, settings):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with Claude().running() as running:
        settings.EXPERTS = settings.EXPERTS | {
            "claude": entry(running.url, batch=False),
            "claude-batch": entry(running.url, batch=True, poll_seconds=30.0),
            "ensemble": entry(running.url, batch=True, prompts=3, poll_seconds=30.0),
        }
        yield running


@pytest.fixture
def claude(server):
    return make_claude("claude-batch")


def look(batch: Batch) -> int:
    """The time for the next look has come, and the task runs."""
    Batch.objects.filter(pk=batch.pk, provider_look__isnull=False).update(provider_look=timezone.now())
    return tasks.answer_batch(batch.pk)


def end(server: Claude) -> None:
    for batch in server.batches.values():
        batch.looks = 0


def test_all_items_go_into_one_batch_which_nobody_waits_for(server, claude, domain):
    server.looks = 5
    batch = make_batch(claude, domain, 100)
    with pytest.raises(StillRunning) as raised:
        tasks.answer_batch(batch.pk)
    assert raised.value.retry.after_seconds == 30.0
    batch.refresh_from_db()
    assert [len(made.entries) for made in server.batches.values()] == [100]
    assert provider_ids(batch.provider_batches) == ["msgbatch_0"]
    assert states(batch) == ["claimed"] * 100
    assert timedelta(seconds=20) < batch.provider_look - timezone.now() < timedelta(seconds=31)
    assert not Claim.objects.filter(expires__lt=batch.provider_look + timedelta(seconds=500)).exists()
    assert provider.words(batch).startswith("Asked by 1 batch at the provider")
    assert tasks.answer_batch(batch.pk) == 0  # it is not time yet
    assert not querysets.unattended(timezone.now()).exists()

    end(server)
    assert look(batch) == 100
    batch.refresh_from_db()
    assert (batch.provider_batches, batch.provider_look) == ({}, None)
    assert batch.closed is not None
    assert len(server.batches) == 1
    rows = list(querysets.verdicts(batch))
    assert len(rows) == Feedback.objects.count() == Claim.objects.count() == 100
    assert all(row.usage["batch"] is True and row.score == 50 for row in rows)


def test_what_came_by_messages_is_not_said_to_come_by_batch(server, domain):
    batch = make_batch(make_claude("claude"), domain, 2)
    assert tasks.answer_batch(batch.pk) == 2
    assert all("batch" not in row.usage for row in querysets.verdicts(batch))


def test_a_message_that_gets_lost_is_made_up_for_by_the_sweep(server, claude, domain, monkeypatch):
    server.looks = 5
    batch = make_batch(claude, domain, 3)
    with pytest.raises(StillRunning):
        tasks.answer_batch(batch.pk)
    assert tasks.sweep()["restarted"] == 0
    Batch.objects.update(provider_look=timezone.now())
    assert tasks.sweep() == {"expired": 0, "closed": 0, "restarted": 1}


def test_it_is_looked_at_less_often_the_longer_it_takes(server, claude, domain):
    server.looks = 5
    batch = make_batch(claude, domain, 3)
    with pytest.raises(StillRunning):
        tasks.answer_batch(batch.pk)
    for hours, seconds in ((0.5, 180), (12, 600)):
        Claim.objects.update(started=timezone.now() - timedelta(hours=hours))
        with pytest.raises(StillRunning) as raised:
            look(batch)
        assert raised.value.retry.after_seconds == pytest.approx(seconds, abs=1)
    assert len(server.batches) == 1


def test_the_verdicts_of_all_reviewers_and_repeats_are_under_way_at_the_same_time_and_differ(server, claude, domain):
    server.looks = 1
    batch = make_batch(claude, domain, 12, reviewers=2, repeat_share=0.25)
    with pytest.raises(StillRunning):
        tasks.answer_batch(batch.pk)
    assert sorted(len(made.entries) for made in server.batches.values()) == [6, 12, 12]
    names = [entry["custom_id"] for made in server.batches.values() for entry in made.entries]
    assert len(names) == len(set(names)) == 30
    end(server)
    look(batch)
    assert Item.objects.filter(state="done").count() == Feedback.objects.count() == 30
    assert len(server.batches) == 3


def test_the_batches_of_an_ensemble_are_under_way_at_the_same_time(server, domain):
    server.looks = 2
    batch = make_batch(make_claude("ensemble"), domain, 4)
    with pytest.raises(StillRunning):
        tasks.answer_batch(batch.pk)
    assert [len(made.entries) for made in server.batches.values()] == [4, 4, 4]
    server.batches["msgbatch_0"].looks = 0
    with pytest.raises(StillRunning):
        look(batch)
    assert not Feedback.objects.exists()  # of each verdict a part is missing
    end(server)
    assert look(batch) == 4
    assert len(server.batches) == 3


def test_what_ended_is_handed_in_while_the_rest_is_waited_for(server, claude, domain):
    """The one that expired is asked again, by itself."""
    server.fate = lambda entry, number: "expired" if number == 0 and "Story 1." in str(entry) else "succeeded"
    batch = make_batch(claude, domain, 3)
    server.looks = 0
    made: list[int] = []
    create = server.create

    def slower(body):
        server.looks = 0 if not made else 3
        made.append(len(body["requests"]))
        return create(body)

    server.create = slower
    with pytest.raises(StillRunning):
        tasks.answer_batch(batch.pk)
    assert made == [3, 1]
    assert states(batch) == ["done", "claimed", "done"]
    end(server)
    assert look(batch) == 1
    assert made == [3, 1]
    assert Feedback.objects.count() == 3


def test_a_text_that_is_asked_again_gets_another_answer_though_the_first_is_still_there(server, claude, domain):
    batch = make_batch(claude, domain, 2)
    admin = make_user("admin")
    server.fate = lambda entry, number: "expired" if number == 0 and "Story 1." in str(entry) else "succeeded"
    looks = iter([0, 9, 0])
    create = server.create

    def next_looks(body):
        server.looks = next(looks)
        return create(body)

    server.create = next_looks
    with pytest.raises(StillRunning):
        tasks.answer_batch(batch.pk)
    done = Item.objects.get(state="done")
    actions.reopen(done, actor=admin, reason="the prompt was wrong")
    with pytest.raises(StillRunning):
        look(batch)
    assert server.sent_in_batches() == {"Story 0.": 2, "Story 1.": 2}
    assert Feedback.objects.filter(item=done).count() == 2


def test_two_tasks_at_once_make_one_batch(server, claude, domain):
    batch = make_batch(claude, domain, 2)
    assert actions.attend_provider(batch)
    assert tasks.answer_batch(batch.pk) == 0
    assert not server.batches
    assert states(batch) == ["ready"] * 2


def test_an_outage_while_looking_gives_the_items_back_and_keeps_the_ids(server, claude, domain):
    server.looks = 1
    batch = make_batch(claude, domain, 2)
    with pytest.raises(StillRunning):
        tasks.answer_batch(batch.pk)
    server.down = True
    with pytest.raises(GraderError, match="529"):
        look(batch)
    assert states(batch) == ["ready"] * 2
    server.down = False
    batch.expert.outages.all().delete()
    end(server)
    assert look(batch) == 2
    assert len(server.batches) == 1


def test_a_batch_that_is_closed_is_looked_at_no_more(server, claude, domain):
    server.looks = 1
    batch = make_batch(claude, domain, 2)
    with pytest.raises(StillRunning):
        tasks.answer_batch(batch.pk)
    actions.close_batch(batch, reason="enough")
    Batch.objects.update(provider_look=timezone.now())
    assert not querysets.unattended(timezone.now()).exists()
    before = len(server.seen)
    assert look(batch) == 0
    assert len(server.seen) == before


def test_what_is_gone_at_the_provider_is_said_and_can_be_forgotten(server, claude, domain, settings):
    settings.EXPERTS["claude-batch"]["OPTIONS"]["model"]["options"] |= {"missed_polls": 0}
    server.looks = 1
    batch = make_batch(claude, domain, 2)
    with pytest.raises(StillRunning):
        tasks.answer_batch(batch.pk)
    server.batches.clear()
    with pytest.raises(ConfigurationError, match="msgbatch_0 is not there"):
        look(batch)
    assert "forget its id to ask again" in outages.words(batch)
    server.looks = 0
    call_command("forget_provider_batches", str(batch.pk))
    assert tasks.answer_batch(batch.pk) == 2
    with pytest.raises(CommandError, match="nothing of this batch"):
        call_command("forget_provider_batches", str(batch.pk))
