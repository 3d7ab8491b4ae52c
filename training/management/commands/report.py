"""Results, recomputed from the rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from training import tables
from training.models import Experiment, Suite
from training.report import report
from training.suite import report as suites
from training.suite import tables as suite_tables


def as_json(results: dict[str, Any]) -> str:
    return json.dumps(results, indent=2)


Form = Callable[[dict[str, Any]], str]
OF_EXPERIMENTS: dict[str, Form] = {"text": tables.tables, "json": as_json, "csv": tables.as_csv, "markdown": tables.markdown}
OF_A_SUITE: dict[str, Form] = {"text": suite_tables.text, "json": as_json, "csv": suite_tables.as_csv, "markdown": suite_tables.markdown}


class Command(BaseCommand):
    help = "Results of experiments side by side, recomputed from what was sampled, graded and judged; of one that still runs, as far as it is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME")
        parser.add_argument("--suite", metavar="NAME", help="The arms of a suite instead, with intervals over seeds too.")
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_const", const="json", dest="form", default="text", help="Everything as one JSON object.")
        form.add_argument("--csv", action="store_const", const="csv", dest="form", help="A line for each experiment, or arm.")
        form.add_argument("--markdown", action="store_const", const="markdown", dest="form", help="The tables in Markdown.")

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["names"]) == bool(options["suite"]):
            raise CommandError("Name experiments, or one suite with --suite.")
        if options["suite"]:
            said = OF_A_SUITE[options["form"]](suites.report(self.suite(options["suite"])))
        else:
            said = OF_EXPERIMENTS[options["form"]](report(self.experiments(options["names"])))
        self.stdout.write(said.rstrip("\n"))

    def experiments(self, names: list[str]) -> list[Experiment]:
        found = {e.name: e for e in Experiment.objects.filter(name__in=names)}
        if missing := [name for name in names if name not in found]:
            known = ", ".join(Experiment.objects.values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no experiment {', '.join(missing)}. There are: {known}.")
        return [found[name] for name in names]

    def suite(self, name: str) -> Suite:
        if found := Suite.objects.filter(name=name).first():
            return found
        raise CommandError(f"There is no suite {name}. There are: {', '.join(Suite.objects.values_list('name', flat=True)) or 'none yet'}.")
