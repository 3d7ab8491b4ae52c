from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = "Experiments"

    def ready(self) -> None:
        from training import receivers  # noqa: F401  (connects signals)
