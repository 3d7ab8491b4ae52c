"""Where the demo's time goes: wall seconds by kind of stage, read from the rows that it left.

    make demo SERVE=0 && .venv/bin/python bench/demo_stages.py

Prints a Markdown table. Stages of the three experiments run side by side, so the sums exceed the whole.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path

KINDS = {"sample": "sampling rollouts", "ask": "expert verdicts", "realign": "distilling", "grade": "grading again", "train": "RL"}


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("TOUCHSTONE_LOCAL", "1")
    import django

    django.setup()
    from training.models import Experiment, Stage

    experiments = list(Experiment.objects.filter(name__startswith="demo-", state=Experiment.State.DONE).order_by("name"))
    if not experiments:
        sys.exit("There is no finished demo; run make demo SERVE=0 first.")
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    stages = list(Stage.objects.filter(experiment__in=experiments, ended__isnull=False).select_related("experiment"))
    for stage in stages:
        seconds[stage.kind][stage.experiment.name] += (stage.ended - stage.started).total_seconds()
    names = [experiment.name for experiment in experiments]
    print(f"| wall seconds | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for kind, label in KINDS.items():
        print(f"| {label} | {' | '.join(f'{seconds[kind][name]:.0f}' for name in names)} |")
    print(f"| all | {' | '.join(f'{sum(by[name] for by in seconds.values()):.0f}' for name in names)} |")
    whole = max(stage.ended for stage in stages) - min(stage.started for stage in stages)
    print(f"\nFrom the first stage to the last: {whole.total_seconds():.0f} s.")


if __name__ == "__main__":
    main()
