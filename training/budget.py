"""What an experiment has had from its expert, and what it may still ask."""

from __future__ import annotations

from math import ceil

from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from annotation.actions.budgets import affordable
from annotation.costs import expected
from annotation.models import Feedback, Item
from annotation.routing import rule_of
from training.models import Experiment


def spent(experiment: Experiment) -> dict[str, int]:
    """Verdicts that were paid for, by purpose. Extra ones count, corrections of the same verdict do not."""
    rows = Feedback.objects.filter(item__batch__experiment=experiment.name, revision=1)
    return {row["item__batch__purpose"]: row["n"] for row in rows.values("item__batch__purpose").annotate(n=Count("id"))}


def by_expert(experiment: Experiment) -> dict[str, int]:
    """The same by the alias of who gave them: an experiment's expert may stand for several, or have been replaced."""
    rows = Feedback.objects.filter(item__batch__experiment=experiment.name, revision=1)
    return {row["expert__alias"]: row["n"] for row in rows.order_by("expert__alias").values("expert__alias").annotate(n=Count("id"))}


def promised(experiment: Experiment) -> int:
    """Items that were asked for and have no verdict yet."""
    return Item.objects.filter(batch__experiment=experiment.name, state__in=[Item.State.READY, Item.State.CLAIMED]).count()


def left(experiment: Experiment) -> int:
    """Expert samples that may still be asked for, by the experiment's own budget and by the hard ones that limit it; never negative."""
    asked = promised(experiment)
    own = experiment.sample_budget - sum(spent(experiment).values()) - asked
    rule, now = rule_of(experiment.expert), timezone.now()
    # What waits is promised to budgets too; what is in somebody's hands they hold already.
    waiting = Item.objects.filter(batch__experiment=experiment.name, state=Item.State.READY).count()
    for expert in rule.experts:
        with transaction.atomic():
            own = min(own, affordable(expert, experiment.name, own + waiting, expected(expert, experiment.domain, now).cost) - waiting)
    return max(0, own)


def texts(experiment: Experiment, samples: int) -> int:
    """How many texts can be asked about with so many samples: an expert that stands for several may give a text more than one."""
    return int(samples / rule_of(experiment.expert).verdicts_per_text)


def verdicts(experiment: Experiment, texts: int) -> int:
    """How many samples so many texts take."""
    return ceil(texts * rule_of(experiment.expert).verdicts_per_text)
