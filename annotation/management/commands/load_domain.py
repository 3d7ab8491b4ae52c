"""Load a domain that comes with Touchstone."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation import ready
from annotation.actions import load_ready


class Command(BaseCommand):
    help = (
        "Put a domain that comes with Touchstone and its prompts into the database; without a name, list what there is. What is there stays as it is."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help=", ".join(ready.names()))

    def handle(self, *args: Any, **options: Any) -> None:
        if options["name"] is None:
            for name in ready.names():
                self.stdout.write(f"{name}: {ready.read(name).fields['description']}")
            return
        try:
            domain, report = load_ready(options["name"])
        except KeyError as exc:
            raise CommandError(f"There is no ready domain {options['name']}; there are: {', '.join(ready.names())}.") from exc
        self.stdout.write(f"{domain.name}: {report.created} prompts are new, {domain.prompts.count()} are there.")
