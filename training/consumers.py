"""Says to an open experiment page that it should look again."""

from __future__ import annotations

from typing import Any

from channels.db import database_sync_to_async

from annotation import roles
from annotation.consumers import NewsConsumer
from training.actions import visible_to


class ExperimentConsumer(NewsConsumer):
    """News of one experiment, for those who may see it."""

    async def groups_for(self, user: Any) -> list[str] | None:
        return await database_sync_to_async(self._groups)(user, self.scope["url_route"]["kwargs"]["slug"])

    @staticmethod
    def _groups(user: Any, slug: str) -> list[str] | None:
        if not roles.is_researcher(user) or not visible_to(user).filter(name=slug).exists():
            return None
        return [f"experiment.{slug}"]
