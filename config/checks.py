"""System checks of the environment: config.E001 and up, one for each value that cannot be used."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def environment_can_be_read(**kwargs: Any) -> list[CheckMessage]:
    return [Error(f"{p.name} {p.wrong}.", hint=p.mend, id=p.id) for p in settings.ENVIRONMENT.problems]
