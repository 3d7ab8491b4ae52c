from __future__ import annotations

import signal
import threading
import time
from argparse import BooleanOptionalAction
from typing import Any, NoReturn

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from config import embedded
from config.demo import experiments, people
from config.demo.processes import Processes, free_port, only_one
from config.watch import watch
from training.domains import load_pocket
from training.report import loop_closed, report
from training.tables import tables


class Command(BaseCommand):
    help = "Run the whole loop in miniature: services, people, three pocket experiments, a table of results. Run again, it goes on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--serve", action=BooleanOptionalAction, default=True, help="stay up after the table until Ctrl-C (default)")
        parser.add_argument("--port", type=int, default=8000, help="port on this machine; the next free one if it is taken (default: 8000)")

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = Console(soft_wrap=True, highlight=False)
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            self.run(options["port"], options["serve"])
        except KeyboardInterrupt:
            self.say("Ended. Run it again to go on, or make clean to start over.")
            if not options["serve"]:
                raise CommandError("The demo was ended before its table.", returncode=130) from None
        finally:
            embedded.let_go(settings.HOME)
            embedded.wait_until_stopped(settings.HOME, 10)

    def run(self, port: int, serve: bool) -> None:
        if not settings.LOCAL:
            raise CommandError("The demo serves plain HTTP on this machine alone. Set TOUCHSTONE_LOCAL=yes, as make demo does.")
        if settings.DATABASE_IS_EMBEDDED or settings.REDIS_IS_EMBEDDED:
            self.say("Starting PostgreSQL and Valkey ...")
        embedded.make_home(settings.HOME)
        with only_one():
            call_command("migrate", verbosity=0)
            free = free_port(port)
            if free != port:
                self.say(f"Port {port} is taken; using {free}.")
            with Processes(free) as processes:
                passwords = people.make_people()
                processes.wait_for_page()
                self.welcome(free, passwords)
                problems = self.experiments(processes)
                self.say("\n".join(["The loop did not close:", *(f"- {problem}" for problem in problems)] if problems else ["The loop closed."]))
                if serve:
                    self.stay_up(free, processes)
        if problems:
            raise CommandError("The loop did not close; what failed stands above.", returncode=1)

    def stay_up(self, port: int, processes: Processes) -> NoReturn:
        self.say(f"\nThe site stays at http://localhost:{port}/ until Ctrl-C.")
        while True:
            processes.check()
            time.sleep(1)

    def experiments(self, processes: Processes) -> list[str]:
        """Begin them, show them to their end, print the tables. Returns why the loop did not close; nothing if it did."""
        domain, expert = load_pocket()
        panel = people.make_panel()
        names = [experiment.name for experiment in experiments.begin(domain, expert)]
        offered = threading.Event()

        def meanwhile() -> None:
            processes.check()
            experiments.start_next(settings.TRAINING_SLOTS)
            if not offered.is_set() and experiments.offer_by_hand(panel):
                offered.set()
                self.say("Four stories wait for the experts: sign in as expert1 and open My queue.")

        ended = watch(names, self.console, meanwhile)
        results = report(ended)
        self.say(f"\n{tables(results)}")
        return loop_closed(results)

    def welcome(self, port: int, passwords: dict[str, str]) -> None:
        self.say(f"\nThe site is at http://localhost:{port}/")
        for name, role in people.PEOPLE.items():
            if name in passwords:
                self.say(f"  {name:12} {passwords[name]:14} {role or 'admin'}")
        if passwords:
            self.say("These passwords are shown this once.\n")
        if len(passwords) < len(people.PEOPLE):
            self.say("The demo's people exist already. A new password for one of them: .venv/bin/python manage.py changepassword researcher1\n")

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)


def _interrupt(*args: Any) -> NoReturn:
    raise KeyboardInterrupt
