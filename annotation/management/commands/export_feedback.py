"""Write feedback as JSON lines."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet

from annotation import export
from annotation.management.find import find_batch, find_domain
from annotation.models import Batch, Feedback
from annotation.progress import progress


class Command(BaseCommand):
    help = (
        "Write the experts' verdicts as JSON lines, one each, with reviewer, timing, prompt digest, checkpoint and proxy version. "
        "Without --all only those that stand and count are written."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--domain", help="only this domain (its slug)")
        parser.add_argument("--experiment", help="only what this experiment asked for (its name)")
        parser.add_argument("--batch", help="only this batch (its key or number)")
        parser.add_argument("--purpose", choices=Batch.Purpose.values, help="only batches for this purpose")
        parser.add_argument("--all", action="store_true", help="earlier revisions and extra verdicts too")
        parser.add_argument("-o", "--output", type=Path, help="file to write; it is replaced once everything is written (default: stdout)")

    def handle(self, *args: Any, **options: Any) -> None:
        feedback = _select(options)
        rows = progress(export.rows(feedback), "Exporting", feedback.count())
        output: Path | None = options["output"]
        if output is None:
            try:
                for row in rows:
                    self.stdout.write(export.line(row))
            except BrokenPipeError:  # the reader has seen enough
                os._exit(0)
            return
        partial = output.with_name(f".{output.name}.partial")
        try:
            with partial.open("w", encoding="utf-8") as stream:
                written = sum(bool(stream.write(export.line(row) + "\n")) for row in rows)
            partial.replace(output)
        except OSError as exc:
            partial.unlink(missing_ok=True)
            raise CommandError(f"Cannot write {output}: {exc.strerror or exc}. Nothing there was changed.") from exc
        self.stderr.write(f"{written} verdicts written to {output}")


def _select(options: dict[str, Any]) -> QuerySet[Feedback]:
    feedback = Feedback.objects.all() if options["all"] else Feedback.objects.filter(current=True, counted=True)
    if slug := options["domain"]:
        feedback = feedback.filter(item__batch__domain=find_domain(slug))
    if name := options["experiment"]:
        if not Batch.objects.filter(experiment=name).exists():
            raise CommandError(f"No batch was asked for by an experiment {name!r}.")
        feedback = feedback.filter(item__batch__experiment=name)
    if which := options["batch"]:
        feedback = feedback.filter(item__batch=find_batch(which))
    if purpose := options["purpose"]:
        feedback = feedback.filter(item__batch__purpose=purpose)
    return feedback
