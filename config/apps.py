from django.apps import AppConfig


class WiringConfig(AppConfig):
    """Makes the commands, the checks and the Celery app of `config` known; it has no models."""

    name = "config"
    label = "wiring"

    def ready(self) -> None:
        from config import celery, checks  # noqa: F401  (tasks find their app, Django its checks)
