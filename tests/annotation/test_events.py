"""News reaches open pages after the commit, and its loss hurts nobody."""

from __future__ import annotations

import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync
from channels.layers import channel_layers, get_channel_layer
from django.db import transaction

from annotation import actions, events
from annotation.models import Feedback
from annotation.signals import batch_changed
from tests.annotation.makers import claim_one, make_batch, make_domain, make_panel, make_user, submit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world():
    alice = make_user("alice")
    return alice, make_panel(alice), make_domain()


def heard(group, act, count):
    """What a listener of `group` hears within moments while `act` runs in a thread, as a web page would."""

    async def listen():
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add(group, channel)
        thread = threading.Thread(target=act)
        thread.start()
        got = []
        try:
            for _ in range(count):
                got.append(await asyncio.wait_for(layer.receive(channel), 20))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(layer.receive(channel), 0.2)
        finally:
            await asyncio.to_thread(thread.join)
        return got

    return async_to_sync(listen)()


@pytest.fixture
def changed():
    ids: list[int] = []

    def receive(sender, batch_id, **kwargs):
        ids.append(batch_id)

    batch_changed.connect(receive)
    yield ids
    batch_changed.disconnect(receive)


def close_after(act):
    from django.db import connection

    def run():
        try:
            act()
        finally:
            connection.close()

    return run


def test_the_experiments_page_and_the_batch_hear_of_a_verdict(world):
    alice, panel, domain = world
    batch = make_batch(panel, domain, experiment="exp")
    claim = claim_one(alice)
    payload = {"event": "batch.changed", "batch": batch.pk, "experiment": "exp"}
    messages = heard("experiment.exp", close_after(lambda: submit(claim, user=alice)), 2)  # the verdict, and that it was the last
    assert messages == [{"type": "announcement", "payload": payload}] * 2


def test_people_hear_that_there_is_something_for_them(world):
    alice, panel, domain = world
    (message,) = heard(f"user.{alice.pk}", close_after(lambda: make_batch(panel, domain)), 1)
    assert message["payload"]["event"] == "queue.changed"


def test_other_apps_hear_after_the_commit_and_not_of_what_was_rolled_back(world, changed):
    alice, panel, domain = world
    batch = make_batch(panel, domain, 2)
    with transaction.atomic():
        submit(claim_one(alice), user=alice)
        transaction.set_rollback(True)
    assert changed == []
    submit(claim_one(alice), user=alice)
    actions.close_batch(batch)
    assert changed == [batch.pk, batch.pk]


def test_a_listener_that_fails_does_not_cost_the_verdict(world, caplog):
    alice, panel, domain = world
    make_batch(panel, domain)

    def fail(sender, **kwargs):
        raise RuntimeError("listener")

    batch_changed.connect(fail)
    try:
        submit(claim_one(alice), user=alice)
    finally:
        batch_changed.disconnect(fail)
    assert Feedback.objects.count() == 1
    assert "listener" in caplog.text


def test_a_channel_layer_that_is_away_does_not_cost_the_verdict(world, settings, caplog):
    alice, panel, domain = world
    away = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": ["unix:///nowhere/valkey.sock"]}}
    settings.CHANNEL_LAYERS = {"default": away}
    channel_layers.backends = {}
    try:
        make_batch(panel, domain)
        submit(claim_one(alice), user=alice)
    finally:
        channel_layers.backends = {}
    assert Feedback.objects.count() == 1
    assert "could not announce" in caplog.text


def test_announcing_from_many_threads_leaves_no_connection_behind(settings):
    import redis

    broker = redis.Redis.from_url(settings.REDIS_URL)

    def count():
        return int(broker.info("clients")["connected_clients"])

    events.announce("batch.1", {"event": "x"})
    before = count()
    threads = [threading.Thread(target=events.announce, args=("batch.1", {"event": "x"})) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count() <= before + 1
