"""What the demo runs: the three pocket experiments, and four stories to review by hand meanwhile."""

from __future__ import annotations

from random import Random

from django.contrib.auth.models import User

from annotation.actions import select_batch
from annotation.models import Batch, Domain, Expert, Rollout
from annotation.selection import at_random
from training import actions
from training.models import Experiment

# The longest first.
EXPERIMENTS = {
    "demo-full-trace": ("pocket-full-trace", "Full-trace distillation: the proxy learns from the expert"),
    "demo-ceiling": ("pocket-ceiling", "Ceiling: RL on the expert's own scores"),
    "demo-weak-proxy": ("pocket-weak-proxy", "Weak proxy: RL on a rubric that nobody corrects"),
}
BY_HAND = "demo-by-hand"


def begin(domain: Domain, expert: Expert) -> list[Experiment]:
    """The demo's experiments, made where they are not; one that failed or was paused goes on. `start_next` starts them."""
    owner = User.objects.get(username="researcher1")
    begun = []
    for name, (preset, title) in EXPERIMENTS.items():
        experiment = Experiment.objects.filter(name=name).first()
        if experiment is None:
            experiment = actions.create_experiment(name=name, title=title, owner=owner, domain=domain, expert=expert, preset=preset)
        elif experiment.state in (Experiment.State.FAILED, Experiment.State.PAUSED):
            actions.resume(experiment, actor=owner)
        begun.append(experiment)
    return begun


def start_next(at_once: int) -> None:
    """Start experiments of the demo until `at_once` of them run. More than there are cores would only slow the longest down."""
    rows = {experiment.name: experiment for experiment in Experiment.objects.filter(name__in=EXPERIMENTS).select_related("owner")}
    free = at_once - sum(experiment.state in Experiment.ACTIVE for experiment in rows.values())
    drafts = [rows[name] for name in EXPERIMENTS if name in rows and rows[name].state == Experiment.State.DRAFT]
    for experiment in drafts[: max(0, free)]:
        actions.start(experiment, actor=experiment.owner)


def offer_by_hand(panel: Expert, count: int = 4) -> Batch | None:
    """Once there are rollouts: `count` of them, at random, for people to try the review page on. None until then."""
    if batch := Batch.objects.filter(key=BY_HAND).first():
        return batch
    rollouts = Rollout.objects.filter(run__startswith="demo-full-trace/", step=0, finished=True)
    ids = list(rollouts.order_by("id").values_list("id", flat=True))
    if len(ids) < count:
        return None
    return select_batch(
        key=BY_HAND,
        title="Four stories to review by hand",
        domain=rollouts[0].prompt.domain,
        expert=panel,
        purpose=Batch.Purpose.CALIBRATION,
        rollouts=at_random(ids, count, Random(1)),
        strategy="random",
        seed=1,
        note="Written by the policy before any training and picked at random. No experiment waits for them.",
    )
