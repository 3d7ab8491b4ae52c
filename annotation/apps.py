from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AnnotationConfig(AppConfig):
    name = "annotation"
    verbose_name = "Expert queue"

    def ready(self) -> None:
        from django.conf import settings

        from annotation import checks, roles  # noqa: F401 (importing the checks registers them)
        from annotation.meter import ValkeyMeter
        from grading import limits

        limits.share(ValkeyMeter(settings.REDIS_URL))  # it connects when a model with limits is asked

        post_migrate.connect(roles.make_groups, sender=self, dispatch_uid="annotation.roles")
