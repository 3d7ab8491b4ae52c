"""Have imported texts judged."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation.actions.importing import RUN
from annotation.asking import MOST_TIMES, Wanted, count_of, estimate, imported_rollouts
from annotation.errors import AnnotationError
from annotation.management.find import find_domain, find_expert


class Command(BaseCommand):
    help = (
        "Have an expert judge texts that import_rollouts brought in: people find them in their queue, a language model or a program is asked by the "
        "worker. Says what that costs; with --yes it asks, and prints the batch's key, by which export_feedback writes the verdicts."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("expert", help="its alias")
        parser.add_argument("--domain", required=True, help="the domain's slug")
        parser.add_argument("--name", required=True, help="where the texts come from, as import_rollouts was told")
        parser.add_argument("--texts", type=int, help="so many at random (default: all)")
        parser.add_argument("--times", type=int, default=1, help="verdicts on each; of a panel, each from somebody else (default: 1)")
        parser.add_argument("--note", default="", help="why these texts; reviewers read it")
        parser.add_argument("--again", action="store_true", help="also the texts that the expert was asked about before")
        parser.add_argument("--yes", action="store_true", help="ask; without it nobody is asked")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["texts"] is not None and options["texts"] < 1:
            raise CommandError("--texts is 1 or more.")
        if not 1 <= options["times"] <= MOST_TIMES:
            raise CommandError(f"--times is 1 to {MOST_TIMES}.")
        domain = find_domain(options["domain"])
        runs = imported_rollouts(domain).order_by().values_list("run", flat=True).distinct()
        if (run := RUN + options["name"]) not in runs:
            known = ", ".join(sorted(run.removeprefix(RUN) for run in runs)) or "none; bring some in with import_rollouts"
            raise CommandError(f"There are no texts from {options['name']} in {domain.slug}; there are: {known}.")
        wanted = Wanted(domain, run, find_expert(options["expert"]), options["texts"], options["times"], options["again"])
        key = wanted.key()
        try:
            rollouts = wanted.rollouts(key)
            self._say(wanted, len(rollouts) * wanted.times)
            if not options["yes"]:
                self.stdout.write("Nobody was asked. Add --yes to ask.")
                return
            wanted.ask(key, rollouts, note=options["note"], actor=None)
        except AnnotationError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"Asked. {wanted.expert.name} has {count_of(rollouts)} to judge.\nmanage.py export_feedback --batch {key}")

    def _say(self, wanted: Wanted, texts: int) -> None:
        """What it costs."""
        found = estimate(wanted.expert, wanted.domain, texts)
        self.stdout.write(f"{found['verdicts']:,} verdicts of {wanted.expert.name}: {found['words'] or 'free'}")
        for line in found["assumptions"]:
            self.stdout.write(f"  {line}")
        for one in found["short"]:
            self.stderr.write(f"Budgets have room for {one['room']:,} of {one['wanted']:,} verdicts by {one['expert'].name}: it would end early.")
