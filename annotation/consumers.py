"""Says to an open queue page that it should look again."""

from __future__ import annotations

import json
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from annotation import desk, roles


class NewsConsumer(AsyncWebsocketConsumer):
    """Passes the announcements of its groups on. What changed is not in the message: the page asks for itself, as the signed-in person."""

    joined: tuple[str, ...] = ()

    async def groups_for(self, user: Any) -> list[str] | None:
        """The groups to listen to; None refuses the connection."""
        raise NotImplementedError

    async def connect(self) -> None:
        user = self.scope.get("user")
        groups = await self.groups_for(user) if user is not None and user.is_authenticated else None
        if groups is None:
            await self.close()
            return
        for group in groups:
            await self.channel_layer.group_add(group, self.channel_name)
        self.joined = tuple(groups)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        for group in self.joined:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Nothing is expected from the page."""

    async def announcement(self, message: dict[str, Any]) -> None:
        await self.send(json.dumps({"event": message["payload"].get("event", "changed")}))


class QueueConsumer(NewsConsumer):
    """News of the batches that wait for this person."""

    async def groups_for(self, user: Any) -> list[str] | None:
        return await database_sync_to_async(self._groups)(user)

    @staticmethod
    def _groups(user: Any) -> list[str] | None:
        if not roles.is_expert(user):
            return None
        open_batches = desk.batches_of(user).filter(closed=None).values_list("pk", flat=True)
        return [f"user.{user.pk}", *(f"batch.{pk}" for pk in open_batches)]
