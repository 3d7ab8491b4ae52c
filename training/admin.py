"""To look at, not to change: `training.actions` and the runner write these rows."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from training.models import Checkpoint, Experiment, Job, Measurement, ProxyVersion, Stage, StepMetric, Suite


class ReadOnly(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Experiment)
class ExperimentAdmin(ReadOnly):
    list_display = ["name", "title", "domain", "expert", "state", "sample_budget", "seed", "owner", "created"]
    list_filter = ["state", "domain", "expert"]
    search_fields = ["name", "title"]


@admin.register(Suite)
class SuiteAdmin(ReadOnly):
    list_display = ["name", "title", "domain", "expert", "running", "owner", "created"]
    search_fields = ["name", "title"]


@admin.register(Job)
class JobAdmin(ReadOnly):
    list_display = ["__str__", "kind", "state", "attempts", "heartbeat", "started", "ended"]
    list_filter = ["state", "kind"]
    list_select_related = ["experiment"]


@admin.register(Stage)
class StageAdmin(ReadOnly):
    list_display = ["experiment", "number", "key", "started", "ended"]
    list_filter = ["kind"]
    list_select_related = ["experiment"]


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnly):
    list_display = ["experiment", "step", "digest", "path", "created"]
    list_select_related = ["experiment"]


@admin.register(ProxyVersion)
class ProxyVersionAdmin(ReadOnly):
    list_display = ["experiment", "number", "method", "step", "digest", "created"]
    list_select_related = ["experiment"]
    raw_id_fields = ["feedback"]


@admin.register(Measurement)
class MeasurementAdmin(ReadOnly):
    list_display = ["experiment", "step", "name", "when", "value", "low", "high", "samples", "left_out"]
    list_filter = ["name"]
    list_select_related = ["experiment"]


@admin.register(StepMetric)
class StepMetricAdmin(ReadOnly):
    list_display = ["experiment", "step", "data"]
    list_select_related = ["experiment"]
