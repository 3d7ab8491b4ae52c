"""Results, recomputed from the rows."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from training.models import Experiment
from training.report import report
from training.tables import tables


class Command(BaseCommand):
    help = "Results of experiments side by side, recomputed from what was sampled, graded and judged; of one that still runs, as far as it is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="+", metavar="NAME")
        parser.add_argument("--json", action="store_true", help="Everything as one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        found = {e.name: e for e in Experiment.objects.filter(name__in=options["names"])}
        if missing := [name for name in options["names"] if name not in found]:
            known = ", ".join(Experiment.objects.values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no experiment {', '.join(missing)}. There are: {known}.")
        results = report([found[name] for name in options["names"]])
        self.stdout.write(json.dumps(results, indent=2) if options["json"] else tables(results))
