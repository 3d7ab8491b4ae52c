"""The Celery app. Tasks carry ids and nothing else; `celery -A config worker -Q default` and `-Q training`, `celery -A config beat`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init

from config import embedded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("touchstone")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def start_services(**kwargs: Any) -> None:
    from django.conf import settings

    settings.ENVIRONMENT.require()
    if settings.REDIS_IS_EMBEDDED or settings.DATABASE_IS_EMBEDDED:
        embedded.start(settings.HOME)
