"""What is written about errors, in logs and in Django's reports, without the keys that stand in it."""

from __future__ import annotations

import logging

from django.conf import settings
from django.utils.safestring import SafeString, mark_safe
from django.views.debug import ExceptionReporter

from grading.secrecy import hiding


class Formatter(logging.Formatter):
    """Log lines with their tracebacks. A provider quotes the keys that it does not know, and others put that into their errors."""

    def format(self, record: logging.LogRecord) -> str:
        return hiding(settings.EXPERTS)(super().format(record))


class Reporter(ExceptionReporter):
    """Django's report of an error, by mail or on the page: it shows the variables of every frame, and the settings."""

    def get_traceback_html(self) -> SafeString:
        return _without_keys(super().get_traceback_html())

    def get_traceback_text(self) -> SafeString:
        return _without_keys(super().get_traceback_text())


def _without_keys(report: str) -> SafeString:
    return mark_safe(hiding(settings.EXPERTS)(report))  # noqa: S308 (as safe as what Django made)
