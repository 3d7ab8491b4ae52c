from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from training.domains import load_pocket


class Command(BaseCommand):
    help = "Put the pocket stories, their prompts and their expert into the database. What is there already stays as it is."

    def handle(self, *args: Any, **options: Any) -> None:
        domain, expert = load_pocket()
        self.stdout.write(f"{domain.name}: {domain.prompts.count()} prompts, judged by {expert.name}.")
