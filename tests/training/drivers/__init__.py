"""Processes that carry experiments, forked from one that has Django loaded: they start at once, and are killed like any other."""


def preload() -> None:
    import django

    django.setup()
    import training.management.commands.run_experiment
