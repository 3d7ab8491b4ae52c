"""Would a preset work with these prompts, this model and these machines?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotation.management.find import find_domain, find_expert
from training.dry_run import Finding, Machines, dry_run
from training.management.commands.run_experiment import parse_change
from training.paper import EVERY
from training.presets import Plan


class Command(BaseCommand):
    help = (
        "See whether PRESET works before anything is trained: enough prompts, no text or score cut off, memory, and what the expert's verdicts cost. "
        "The policy's folder needs its config.json and its tokenizer, no weights. Exit status 1 where something does not fit."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("preset", metavar="PRESET", help=", ".join(EVERY))
        parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes", help="Change a number of the plan.")
        parser.add_argument("--domain", required=True, help="Slug of the domain.")
        parser.add_argument("--policy", required=True, type=Path, metavar="FOLDER", help="Model folder; the proxy is taken to be of the same make.")
        parser.add_argument("--expert", default="", help="Alias of the expert, for what its verdicts cost.")
        parser.add_argument("--gpus", type=int, default=8, help="Default: 8. Two of them serve, where there are more than two.")
        parser.add_argument("--memory", type=float, default=80.0, metavar="GIB", help="Of each GPU. Default: 80.")
        parser.add_argument("--device-batch", type=int, default=settings.DEVICE_BATCH, metavar="N", help="Sequences in one pass. Default: what fits.")
        parser.add_argument("--json", action="store_true", help="Everything as one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["preset"] not in EVERY:
            raise CommandError(f"There is no preset {options['preset']!r}; there are {', '.join(EVERY)}.")
        if options["gpus"] < 1 or options["memory"] <= 0 or options["device_batch"] < 0:
            raise CommandError("--gpus is 1 or more, --memory above 0, and --device-batch 0 or more.")
        machines = Machines(options["gpus"], options["memory"], options["device_batch"])
        domain, expert = find_domain(options["domain"]), find_expert(options["expert"]) if options["expert"] else None
        try:
            plan = Plan.from_dict(EVERY[options["preset"]].to_dict() | dict(map(parse_change, options["changes"])))
            findings = dry_run(plan, domain, options["policy"], expert, machines)
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(
            json.dumps({"preset": options["preset"], "plan": plan.to_dict(), "findings": list(map(asdict, findings))}, indent=2)
            if options["json"]
            else "\n".join(map(line, findings))
        )
        if wrong := [finding.advice for finding in findings if not finding.fits]:
            raise CommandError("\n".join(wrong))


def line(finding: Finding) -> str:
    return f"{'fits' if finding.fits else 'NO':<6}{finding.part:<9}{finding.words}"
