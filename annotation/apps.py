from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AnnotationConfig(AppConfig):
    name = "annotation"
    verbose_name = "Expert queue"

    def ready(self) -> None:
        from annotation import checks, roles  # noqa: F401 (importing the checks registers them)

        post_migrate.connect(roles.make_groups, sender=self, dispatch_uid="annotation.roles")
