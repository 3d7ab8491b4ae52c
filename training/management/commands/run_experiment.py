"""Make an experiment, or go on with one, and run it here."""

from __future__ import annotations

import json
import signal
from functools import partial
from types import FrameType
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotation.models import Domain, Expert
from training import actions
from training.drive import drive
from training.errors import ExperimentError, InvalidExperiment
from training.models import Experiment, Job
from training.narrate import Narrator
from training.paper import EVERY

OPTIONS = {
    "domain": "--domain",
    "expert": "--expert",
    "policy": "--policy",
    "proxy": "--proxy",
    "seed": "--seed",
    "sample_budget": "--budget",
    "preset": "--preset",
}


class Command(BaseCommand):
    interrupted = False
    help = (
        "Make the experiment NAME from a preset and run it in this process: no worker is needed, and one may run beside it. "
        "Where NAME exists, go on from where it is; a paused or failed one is resumed. Ctrl-C pauses it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--preset", default="", help=f"One of {', '.join(EVERY)}. Needed for a new experiment unless --set gives the whole plan.")
        parser.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes", help="Change a number of the plan: --set steps=60."
        )
        parser.add_argument("--title", default="", help="What people see; the name if left out.")
        parser.add_argument("--domain", default="", help="Slug of the domain; may be left out where there is only one.")
        parser.add_argument("--expert", default="", help="Alias of the expert; may be left out where there is only one.")
        parser.add_argument("--policy", default="", metavar="PATH", help="Model folder of the policy. Default: the pocket base.")
        parser.add_argument("--proxy", default="", metavar="PATH", help="Model folder of the proxy. Default: as the policy.")
        parser.add_argument("--seed", type=int, default=1, help="Default: 1.")
        parser.add_argument("--budget", type=int, default=None, metavar="N", help="Expert samples at most. Default: what the protocol needs.")
        parser.add_argument("--owner", default="", help="Username of its owner. Default: the first admin.")
        parser.add_argument("--no-run", action="store_true", help="Only make it and start it; workers do the rest.")

    def handle(self, *args: Any, **options: Any) -> None:
        experiment = Experiment.objects.filter(name=options["name"]).first()
        try:
            if experiment is None:
                experiment = self.create(options)
            elif options["changes"] or options["preset"]:
                raise CommandError(
                    f"There is an experiment {experiment.name} already, and its plan cannot change. Leave out --preset and --set to go on with it."
                )
            self.begin(experiment)
        except InvalidExperiment as exc:
            raise CommandError("\n".join(f"{OPTIONS.get(field, field)}: {message}" for field, message in exc.errors.items())) from exc
        except ExperimentError as exc:
            raise CommandError(str(exc)) from exc
        if options["no_run"]:
            self.stdout.write(f"{experiment.name} is started; workers carry it on.")
            return
        self.run(experiment)

    def create(self, options: dict[str, Any]) -> Experiment:
        if not options["preset"] and not options["changes"]:
            raise CommandError(f"There is no experiment {options['name']}. To make it, give --preset: one of {', '.join(EVERY)}.")
        return actions.create_experiment(
            name=options["name"],
            title=options["title"],
            owner=self.owner(options["owner"]),
            domain=self.choose(Domain, "slug", options["domain"], "--domain"),
            expert=self.choose(Expert, "alias", options["expert"], "--expert"),
            preset=options["preset"],
            changes=dict(map(parse_change, options["changes"])),
            policy=options["policy"],
            proxy=options["proxy"],
            seed=options["seed"],
            sample_budget=options["budget"],
        )

    def owner(self, username: str) -> Any:
        people = get_user_model().objects.filter(is_active=True)
        found = people.filter(username=username).first() if username else people.filter(is_superuser=True).order_by("pk").first()
        if found is None:
            raise CommandError(
                f"There is no user {username}." if username else "There is no admin to own it: `manage.py createsuperuser`, or give --owner."
            )
        return found

    def choose(self, model: Any, key: str, value: str, option: str) -> Any:
        """The row that was named, or the only one there is."""
        known = list(model.objects.values_list(key, flat=True))
        if not known:
            raise CommandError(f"There is no {model._meta.verbose_name} yet. `manage.py demo` makes those of the pocket stories.")
        if not value and len(known) > 1:
            raise CommandError(f"Give {option}: one of {', '.join(known)}.")
        if value and value not in known:
            raise CommandError(f"{option}: there is no {model._meta.verbose_name} {value!r}; there are {', '.join(known)}.")
        return model.objects.get(**{key: value or known[0]})

    def begin(self, experiment: Experiment) -> None:
        if experiment.state == Experiment.State.DRAFT:
            actions.start(experiment)
        elif experiment.state in (Experiment.State.PAUSED, Experiment.State.FAILED):
            self.stdout.write(f"Resuming {experiment.name} ({experiment.note})")
            actions.resume(experiment)

    def run(self, experiment: Experiment) -> None:
        before = signal.signal(signal.SIGINT, self.interrupt)
        try:
            with Narrator(self.stdout) as narrator:
                experiment = drive(experiment.pk, partial(self.watch, narrator))
        except KeyboardInterrupt:
            experiment.refresh_from_db()
            if experiment.state in Experiment.ACTIVE:
                actions.pause(experiment)
            raise CommandError(
                f"Paused; its training job saves and stops at the next step. To go on: manage.py run_experiment {experiment.name}"
            ) from None
        finally:
            signal.signal(signal.SIGINT, before)
        if experiment.state == Experiment.State.DONE:
            self.stdout.write(self.style.SUCCESS(experiment.note))
        else:
            raise CommandError(f"{experiment.name} is {experiment.get_state_display()}. {experiment.note}")

    def interrupt(self, signum: int, frame: FrameType | None) -> None:
        """Note the first Ctrl-C and stop where it does no harm; a second one stops at once."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.interrupted = True

    def watch(self, narrator: Narrator, experiment: Experiment, job: Job | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        narrator(experiment, job)


def parse_change(text: str) -> tuple[str, Any]:
    """`steps=60` -> ("steps", 60); what is no number is text. Raises CommandError where there is no `=`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise CommandError(f"--set takes KEY=VALUE, such as steps=60, not {text!r}.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
