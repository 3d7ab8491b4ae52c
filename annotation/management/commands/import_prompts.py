"""Bring prompts into a domain."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation.actions import ImportReport, import_prompts
from annotation.management.find import find_domain
from annotation.models import Domain, Prompt
from annotation.progress import progress

SHOWN = 20  # broken rows that are named one by one


class Command(BaseCommand):
    help = (
        'Bring prompts from a file of JSON lines such as {"split": "train", "variables": {"TOPIC": "the sea"}} into a domain. '
        "Prompts that are there already stay as they are. Broken rows are named and the others go in; the command then ends with an error."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--domain", required=True, help="the domain's slug")
        parser.add_argument("--split", choices=Prompt.Split.values, help="for rows that name none")
        parser.add_argument("--dry-run", action="store_true", help="say what would happen and keep nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        domain = find_domain(options["domain"])
        try:
            # Bytes that are no UTF-8 come through as surrogates, so that only their own row is broken.
            with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
                report = import_prompts(domain, options["split"], progress(lines, "Importing"), dry_run=options["dry_run"])
        except OSError as exc:
            raise CommandError(f"Cannot read {file}: {exc.strerror or exc}.") from exc
        self._say(report, domain, options["dry_run"])
        if report.errors:
            raise CommandError(f"{len(report.errors)} of {file}'s rows are broken. Mend them and run this again: nothing comes in twice.")

    def _say(self, report: ImportReport, domain: Domain, dry_run: bool) -> None:
        for line, message in report.errors[:SHOWN]:
            self.stderr.write(f"line {line}: {message}")
        if len(report.errors) > SHOWN:
            self.stderr.write(f"... and {len(report.errors) - SHOWN} more")
        verb = "would be new" if dry_run else "new"
        self.stdout.write(f"{domain.slug}: {report.created} {verb}, {report.existing} there already, {len(report.errors)} broken")
