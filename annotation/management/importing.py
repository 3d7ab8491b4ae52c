"""What the commands that import files share."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation import readers
from annotation.actions import ImportReport
from annotation.errors import AnnotationError
from annotation.management.find import find_domain
from annotation.models import Domain, Prompt
from annotation.progress import progress

SHOWN = 20  # broken rows that are named one by one


class ImportCommand(BaseCommand):
    """Reads a file into a domain, names broken rows, and ends with an error where there were any."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help=f"{readers.FORMATS}, or a folder that Hugging Face datasets saved")
        parser.add_argument("--domain", required=True, help="the domain's slug")
        parser.add_argument("--split", choices=Prompt.Split.values, help="of prompts that name none")
        parser.add_argument("--dry-run", action="store_true", help="say what would happen and keep nothing")

    def bring_in(self, domain: Domain, rows: Iterable[readers.Row], options: dict[str, Any]) -> ImportReport:
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        domain = find_domain(options["domain"])
        try:
            report = self.bring_in(domain, progress(readers.rows(file), "Importing"), options)
        except OSError as exc:
            raise CommandError(f"Cannot read {file}: {exc.strerror or exc}.") from exc
        except AnnotationError as exc:
            raise CommandError(f"Cannot import {file}: {exc}") from exc
        self._say(report, domain, file, options["dry_run"])
        if report.broken:
            raise CommandError(f"{report.broken} of {file}'s rows are broken. Mend them and run this again: nothing comes in twice.")

    def _say(self, report: ImportReport, domain: Domain, file: Path, dry_run: bool) -> None:
        for number, message in report.errors[:SHOWN]:
            self.stderr.write(f"{readers.unit(file)} {number}: {message}")
        if report.broken > SHOWN:
            self.stderr.write(f"... and {report.broken - SHOWN} more")
        verb = "would be new" if dry_run else "new"
        prompts = f" ({report.prompts} prompts made for them)" if report.prompts else ""
        self.stdout.write(f"{domain.slug}: {report.created} {verb}{prompts}, {report.existing} there already, {report.broken} broken")
        if not report.rows:
            self.stdout.write(f"There are no rows in {file}.")
