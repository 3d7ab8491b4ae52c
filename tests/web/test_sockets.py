"""Who may listen to what, and that news arrive."""

from __future__ import annotations

import json

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from django.contrib.auth.models import AnonymousUser, User

from annotation.events import announce
from config.routing import websocket_urlpatterns
from tests.web import scenery

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scene(transactional_db) -> scenery.Scenery:
    found = scenery.build()
    scenery.waiting(found)
    return found


async def listen(path: str, user: User | AnonymousUser) -> ApplicationCommunicator | None:
    """An open socket of `user`; None where it was refused. (Channels' own tester would want another web server installed.)"""
    scope: dict[str, object] = {"type": "websocket", "path": path, "headers": [], "query_string": b"", "subprotocols": [], "user": user}
    line = ApplicationCommunicator(URLRouter(websocket_urlpatterns), scope)
    await line.send_input({"type": "websocket.connect"})
    answer = await line.receive_output(5)
    return line if answer["type"] == "websocket.accept" else None


async def hang_up(line: ApplicationCommunicator) -> None:
    await line.send_input({"type": "websocket.disconnect", "code": 1000})
    await line.wait(5)


@pytest.mark.parametrize(
    ("path", "welcome"),
    [("/ws/queue/", {"edith", "emil", "ada"}), ("/ws/experiments/by-hand/", {"rosalind", "ada"}), ("/ws/experiments/nothing/", set())],
)
async def test_only_those_who_see_the_page_may_listen(path, welcome, scene):
    heard = set()
    for name, user in {**scene.people, "nobody": AnonymousUser()}.items():
        if line := await listen(path, user):
            heard.add(name)
            await hang_up(line)
    assert heard == welcome


async def test_news_of_an_experiment_arrive_without_their_contents(scene):
    line = await listen("/ws/experiments/by-hand/", scene.people["rosalind"])
    await sync_to_async(announce)("experiment.by-hand", {"event": "batch.changed", "secret": "words"})
    assert json.loads((await line.receive_output(5))["text"]) == {"event": "batch.changed"}
    await line.send_input({"type": "websocket.receive", "text": '{"anything": "at all"}'})  # is ignored
    await sync_to_async(announce)("experiment.another", {"event": "batch.changed"})
    assert await line.receive_nothing(timeout=0.3)
    await hang_up(line)
