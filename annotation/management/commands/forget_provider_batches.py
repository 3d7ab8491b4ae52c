"""Ask again what was sent to a provider in a batch that is gone there."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation import actions
from annotation.errors import NothingToDo
from annotation.management.find import find_batch


class Command(BaseCommand):
    help = (
        "Forget what the expert's provider has of a batch, and send what is not answered anew: for batches that somebody cancelled or deleted "
        "there. What the provider still answers of them is lost, and was paid."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("batch", help="its key or number")
        parser.add_argument("--reason", default="gone at the provider", help="kept in the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            ids = actions.forget_provider_batches(find_batch(options["batch"]), reason=options["reason"])
        except NothingToDo as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"forgot {', '.join(ids)}; what is not answered is asked again within a minute")
