"""Bring texts that were written elsewhere into a domain."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from annotation.actions import ImportReport, import_rollouts
from annotation.actions.importing import NAME_LENGTH
from annotation.management.importing import ImportCommand
from annotation.models import Domain
from annotation.readers import Row


class Command(ImportCommand):
    help = (
        "Bring rollouts from a file into a domain: texts of any model or person, to be reviewed and graded. A row names its prompt by its text "
        "(prompt) or its variables, and has completion or content; it may have split, step, index, checkpoint, finished, tokens, sampling. A prompt "
        "that the domain lacks is made. Rollouts that are there already stay as they are; broken rows are named and the others go in."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--name", help="where the texts come from; by default the file's name. The same name and text never come in twice.")

    def bring_in(self, domain: Domain, rows: Iterable[Row], options: dict[str, Any]) -> ImportReport:
        name = options["name"] or options["file"].stem[:NAME_LENGTH]
        return import_rollouts(domain, rows, name=name, split=options["split"], dry_run=options["dry_run"])
