from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import OperationalError
from django.db.backends.postgresql import base

from config import embedded


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        try:
            embedded.start(settings.HOME)
        except embedded.EmbeddedError as exc:
            raise OperationalError(str(exc)) from exc
        return super().get_new_connection(conn_params)
