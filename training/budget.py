"""What an experiment has had from its expert, and what it may still ask."""

from __future__ import annotations

from django.db.models import Count

from annotation.models import Feedback, Item
from training.models import Experiment


def spent(experiment: Experiment) -> dict[str, int]:
    """Verdicts that were paid for, by purpose. Extra ones count, corrections of the same verdict do not."""
    rows = Feedback.objects.filter(item__batch__experiment=experiment.name, revision=1)
    return {row["item__batch__purpose"]: row["n"] for row in rows.values("item__batch__purpose").annotate(n=Count("id"))}


def promised(experiment: Experiment) -> int:
    """Items that were asked for and have no verdict yet."""
    return Item.objects.filter(batch__experiment=experiment.name, state__in=[Item.State.READY, Item.State.CLAIMED]).count()


def left(experiment: Experiment) -> int:
    """Expert samples that may still be asked for; never negative."""
    return max(0, experiment.sample_budget - sum(spent(experiment).values()) - promised(experiment))
