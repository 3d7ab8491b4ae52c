"""Processes that carry experiments, forked from one that has Django loaded: they start at once, and are killed like any other."""

from importlib import import_module


def preload() -> None:
    import django

    django.setup()
    import_module("training.management.commands.run_experiment")
