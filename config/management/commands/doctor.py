from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.doctor import BROKEN, FINE, LOOKS, WARNING, Finding


class Command(BaseCommand):
    help = "Look at everything that Touchstone needs, and say how to mend what is amiss. Fails if something essential is broken."
    requires_system_checks: list[str] = []  # what they find is reported as findings

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the findings as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        findings: list[Finding] = []
        for look in LOOKS:
            for finding in look():
                findings.append(finding)
                if not options["json"]:
                    self.say(finding)
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2))
        if broken := [finding.what for finding in findings if finding.state == BROKEN]:
            raise CommandError(f"Broken: {', '.join(broken)}.", returncode=1)

    def say(self, finding: Finding) -> None:
        style = {FINE: self.style.SUCCESS, WARNING: self.style.WARNING, BROKEN: self.style.ERROR}[finding.state]
        self.stdout.write(f"{style(f'{finding.state:8}')} {finding.what}: {finding.seen}")
        if finding.mend:
            self.stdout.write(f"{'':8}   {finding.mend}")
