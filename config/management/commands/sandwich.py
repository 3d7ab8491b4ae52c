from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from config import embedded
from config.demo import people
from config.demo.processes import end, guarded
from config.watch import watch
from training.domains import load_pocket
from training.errors import InvalidExperiment
from training.models import Experiment, Suite
from training.suite import files, plan, pocket, report, tables
from training.suite.run import Runs


class Command(BaseCommand):
    help = (
        "Run a suite: experiments of several methods with several seeds, compared with each other. Where NAME does not exist, it is made of the "
        "pocket stories. Run again, it goes on; what is done is not done again. In the end a table, and a folder with the report and its figures."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", nargs="?", help="Default: pocket, or pocket-quick with --quick.")
        parser.add_argument("--quick", action="store_true", help="A new suite gets the main arms only, one seed and one base.")
        parser.add_argument("--jobs", type=int, default=settings.TRAINING_SLOTS, help="Experiments at a time. Default: %(default)s.")
        parser.add_argument("--seeds", type=int, nargs="+", default=[], help="Seeds of a new suite; of one that is there, those that are run now.")
        parser.add_argument("--arms", nargs="+", default=[], help="Run these arms only. The ceiling is what the others are measured against.")
        parser.add_argument("--out", type=Path, metavar="FOLDER", help="Where the report goes. Default: suites/NAME in Touchstone's home.")
        parser.add_argument("--report-only", action="store_true", help="Run nothing; report what is there.")

    def handle(self, *args: Any, **options: Any) -> None:
        out: Any = self.stdout  # the command's own, so that captured output is captured
        self.console = Console(file=out._out, soft_wrap=True, highlight=False)
        if options["jobs"] < 1:
            raise CommandError("--jobs: at least 1 experiment at a time.")
        signal.signal(signal.SIGTERM, _interrupt)
        embedded.make_home(settings.HOME)
        call_command("migrate", verbosity=0)
        name = options["name"] or ("pocket-quick" if options["quick"] else "pocket")
        suite = Suite.objects.filter(name=name).first() or self.create(name, options)
        wanted = self.wanted(suite, options)
        folder = options["out"] or settings.HOME / "suites" / suite.name
        unmet = [] if options["report_only"] else self.run(suite, wanted, options["jobs"])
        results = report.report(suite)
        self.say(f"\n{tables.text(results)}\n")
        for path in files.write(results, folder):
            self.say(f"Wrote {path}")
        if unmet:
            raise CommandError("\n".join(["Not all of it is done:", *unmet]))

    def create(self, name: str, options: dict[str, Any]) -> Suite:
        if options["report_only"]:
            raise CommandError(f"There is no suite {name}. There are: {', '.join(Suite.objects.values_list('name', flat=True)) or 'none yet'}.")
        domain, expert = load_pocket()
        try:
            made = pocket.create_pocket_suite(name, owner=self.owner(), domain=domain, expert=expert, quick=options["quick"], seeds=options["seeds"])
        except InvalidExperiment as exc:
            raise CommandError("\n".join(f"{field}: {message}" for field, message in exc.errors.items())) from exc
        self.say(f"Made the suite {name}: {len(plan.planned(made))} experiments.")
        return made

    def owner(self) -> Any:
        """The first admin; on a machine where there is none, the demo's people are made."""
        admins = get_user_model().objects.filter(is_active=True, is_superuser=True).order_by("pk")
        if not admins.exists() and (password := people.make_people().get("admin")):
            self.say(f"The suite belongs to admin, whose password is shown this once: {password}")
        if (found := admins.first()) is None:
            raise CommandError("There is no active admin to own the suite: `manage.py createsuperuser`.")
        return found

    def wanted(self, suite: Suite, options: dict[str, Any]) -> list[plan.Planned]:
        arms, seeds = [arm.name for arm in plan.arms(suite)], suite.config["seeds"]
        if strangers := [arm for arm in options["arms"] if arm not in arms]:
            raise CommandError(f"--arms: {suite.name} has no arm {strangers[0]}; it has {', '.join(arms)}.")
        if strangers := [str(seed) for seed in options["seeds"] if seed not in seeds]:
            raise CommandError(
                f"--seeds: {suite.name} has no seed {strangers[0]}; it has {', '.join(map(str, seeds))}. Give another NAME to make another suite."
            )
        return plan.planned(suite, options["arms"], options["seeds"])

    def run(self, suite: Suite, wanted: list[plan.Planned], jobs: int) -> list[str]:
        """Carry them on to their end. Returns what is not done, in words."""
        logs = settings.HOME / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        children: list[subprocess.Popen[str]] = []

        def begin(name: str) -> subprocess.Popen[str]:
            command = [sys.executable, "manage.py", "run_experiment", name]
            log = logs / f"{name}.log"
            children.append(guarded({name: {"command": command, "log": str(log), "once": True}}, log.with_suffix(".guard.log")))
            return children[-1]

        try:
            runs = Runs(suite, wanted, jobs, begin)
            watch([one.name for one in wanted], self.console, runs.look)
        except InvalidExperiment as exc:
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt:
            raise CommandError("Ended. Run it again to go on.", returncode=130) from None
        finally:
            for child in children:
                if child.poll() is None:
                    end(child)
        states = {e.name: e for e in Experiment.objects.filter(suite=suite)}
        unmet = []
        for one in wanted:
            experiment = states.get(one.name)
            if experiment is None:
                unmet.append(f"- {one.name} waits for the proxy of {one.arm.after}.")
            elif experiment.state != Experiment.State.DONE:
                unmet.append(f"- {one.name} is {experiment.get_state_display()}: {experiment.note}")
        return unmet

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)


def _interrupt(*args: Any) -> NoReturn:
    raise KeyboardInterrupt
