"""The torch side: each module is a job, `python -m training.engine.rl FOLDER`. No Django, no database."""

from importlib import import_module


def preload() -> None:
    """Import what every job takes seconds to import. It runs before a fork: no thread is started and no device is touched."""
    from training.engine.models import prepare

    prepare()
    for module in ("grading.models.transformers", "training.engine.grpo", "training.engine.sft"):
        import_module(module)
