"""Bring prompts into a domain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from annotation.actions import ImportReport, import_prompts
from annotation.management.importing import ImportCommand
from annotation.models import Domain
from annotation.readers import Row


class Command(ImportCommand):
    help = (
        "Bring prompts from a file into a domain. A row says its split and its variables, as in "
        '{"split": "train", "variables": {"TOPIC": "the sea"}}, or in columns: split,TOPIC. Prompts that are there already stay as they are. '
        "Broken rows are named and the others go in; the command then ends with an error."
    )

    def bring_in(self, domain: Domain, rows: Iterable[Row], options: dict[str, Any]) -> ImportReport:
        return import_prompts(domain, options["split"], rows, dry_run=options["dry_run"])
