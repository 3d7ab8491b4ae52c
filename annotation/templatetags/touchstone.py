"""What the templates need beyond Django's own tags."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from typing import Any

import nh3
from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

from annotation import roles

register = template.Library()


@cache
def _renderer() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


@register.filter
def markdown(text: str) -> SafeString:
    """Markdown as HTML without anything that could act: raw HTML is shown as text, then the result is sanitised."""
    return mark_safe(nh3.clean(_renderer().render(text or "")))  # noqa: S308 (nh3 has just cleaned it)


@register.filter
def paragraphs(text: str) -> list[str]:
    """The text's paragraphs, as plain text to be escaped by the template. Blank lines part them."""
    return [part for part in re.split(r"\n\s*\n", (text or "").strip("\n").replace("\r\n", "\n")) if part.strip()]


@register.filter
def figure(value: float | str | None, digits: int = 2) -> str:
    """A number for people: thousands parted, `digits` decimals; a dash where there is none."""
    if value is None or isinstance(value, str):  # a template's missing variable is an empty string
        return "–"
    return f"{value:,.{digits}f}"


@register.filter
def plain(value: float | None) -> str:
    """A number without needless decimals: 7, 62.5."""
    return "" if value is None else f"{value:g}"


@register.filter
def percent(value: float | str | None, digits: int = 0) -> str:
    """A share (0..1) as a percentage; a dash where there is none."""
    return "–" if value is None or isinstance(value, str) else f"{100 * value:.{digits}f}%"


@register.filter
def duration(seconds: float) -> str:
    """For people: 42 s, 3 min, 2 h 5 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@register.filter
def ago(moment: datetime) -> str:
    """How long it is since then: just now, 3 min ago."""
    seconds = (timezone.now() - moment).total_seconds()
    return "just now" if seconds < 10 else f"{duration(seconds)} ago"


@register.simple_tag(takes_context=True)
def navigation(context: dict[str, Any]) -> list[dict[str, Any]]:
    """The links of the header for who is signed in: label, url, and whether it is the present one."""
    request = context.get("request")
    user = getattr(request, "user", None)
    if request is None or user is None or not user.is_authenticated:
        return []
    links = []
    if roles.is_expert(user):
        links.append(("Review", reverse("queue")))
    if roles.is_researcher(user):
        links.append(("Experiments", reverse("experiments")))
    if user.is_superuser:
        links.append(("Admin", reverse("admin:index")))
    return [{"label": label, "url": url, "current": request.path.startswith(url)} for label, url in links]
