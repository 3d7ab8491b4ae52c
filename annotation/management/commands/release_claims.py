"""Give back items that somebody holds."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from annotation import actions
from annotation.management.find import find_batch
from annotation.models import Claim


class Command(BaseCommand):
    help = (
        "Give back items whose lease has run out (this also happens by itself), or those that --user or --batch names, whether or not their "
        "lease has run out. Drafts are kept, and who was writing can still submit."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", help="what this person holds (their user name)")
        parser.add_argument("--batch", help="what anybody holds of this batch (its key or number)")
        parser.add_argument("--reason", default="released by an admin", help="kept in the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["user"] and not options["batch"]:
            self.stdout.write(f"{actions.expire_claims()} leases had run out; their items are ready again")
            return
        claims = Claim.objects.filter(ended=None)
        if name := options["user"]:
            claims = claims.filter(user__username=name)
            if not get_user_model().objects.filter(username=name).exists():
                raise CommandError(f"There is no user {name}.")
        if which := options["batch"]:
            claims = claims.filter(item__batch=find_batch(which))
        released = actions.release_many(claims.values_list("token", flat=True), reason=options["reason"])
        self.stdout.write(f"{released} items given back")
