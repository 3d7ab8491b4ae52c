"""How steady, how exact and how quick those are who give verdicts, read from the rows. Writes nothing."""

from __future__ import annotations

from typing import Any

from annotation.models import Domain


def noise(user: Any, domain: Domain) -> float | None:
    """Spread of this person's repeated verdicts in the domain, in score points; None where there are too few."""
    return None
