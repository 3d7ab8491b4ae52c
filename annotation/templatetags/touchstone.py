"""What the templates need beyond Django's own tags."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from statistics import quantiles
from typing import Any

import nh3
from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

from annotation import passages as cutting
from annotation import roles
from annotation.models import Budget

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
def passages(text: str) -> list[cutting.Block]:
    """The text's paragraphs and the gaps between them; see `annotation.passages`."""
    return cutting.cut(text or "")


@register.filter
def exact(text: str) -> SafeString:
    """`text` escaped so that the browser's document holds every character of it.

    A bare carriage return would reach the document as a line feed. Where it alone ends a line, a <br> breaks the line that it would not.
    """
    escaped = escape(text)
    return mark_safe(re.sub(r"\r(?!\n)", "&#13;<br>", escaped).replace("\r\n", "&#13;\n"))  # noqa: S308 (has just been escaped)


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
def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign: +4.5, −12.0, 0.0."""
    text = f"{abs(value):,.{digits}f}"
    return text if float(text.replace(",", "")) == 0 else f"{'+' if value > 0 else '−'}{text}"


@register.filter
def percent(value: float | str | None, digits: int = 0) -> str:
    """A share (0..1) as a percentage; a dash where there is none."""
    return "–" if value is None or isinstance(value, str) else f"{100 * value:.{digits}f}%"


@register.filter
def dollars(value: Decimal | None) -> str:
    """$1,234.50; of a small amount that it is less than a cent; a dash where there is none."""
    if value is None or isinstance(value, str):
        return "–"
    return "under 1 cent" if 0 < value < Decimal("0.01") else f"${value:,.2f}"


@register.filter
def amount(value: Decimal | None, unit: str) -> str:
    """So much of a budget's unit: 50 verdicts, $12.50, 1,200 tokens, 90 minutes."""
    if value is None or isinstance(value, str):
        return "–"
    if unit == "money":
        return dollars(value)
    count = f"{value:,.1f}".removesuffix(".0")
    return f"{count} {Budget.Unit(unit).label if count != '1' else Budget.Unit(unit).label.removesuffix('s')}"


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
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:.0f} days ago"
    return "just now" if seconds < 10 else f"{duration(seconds)} ago"


BINS = 20


@register.simple_tag
def own_scores(history: Sequence[float] | str, low: float, high: float) -> dict[str, Any]:
    """What `annotation/_own_scores.html` draws: one's own scores on the scale from `low` to `high`, and where their middle half lies.

    {} for fewer than three: too few to be a picture of anything.
    """
    scores = sorted(score for score in history or () if isinstance(score, int | float))
    if len(scores) < 3:
        return {}
    counts = Counter(min(BINS - 1, int(BINS * (score - low) / (high - low))) for score in scores)
    top = max(counts.values())
    bars = [{"x": 10 * place + 1, "y": round(24 - 22 * n / top, 1), "height": round(22 * n / top, 1)} for place, n in sorted(counts.items())]
    lower, _, upper = quantiles(scores, n=4, method="inclusive")
    return {"bars": bars, "count": len(scores), "lower": round(lower, 1), "upper": round(upper, 1)}


@register.simple_tag(takes_context=True)
def navigation(context: dict[str, Any]) -> list[dict[str, Any]]:
    """The links of the header for who is signed in: label, url, and whether it is the present one."""
    request = context.get("request")
    user = getattr(request, "user", None)
    if request is None or user is None or not user.is_authenticated:
        return []
    links = []
    if roles.is_expert(user):
        links += [("Review", reverse("queue")), ("My verdicts", reverse("verdicts"))]
    if roles.is_expert(user) and not roles.is_admin(user):  # an admin finds their own among everybody's
        links.append(("My quality", reverse("quality")))
    if roles.is_researcher(user):
        links += [("Experiments", reverse("experiments")), ("Suites", reverse("suites")), ("Domains", reverse("domains"))]
    if roles.is_admin(user):
        links += [("Batches", reverse("batches")), ("Experts", reverse("experts")), ("Budgets", reverse("budgets"))]
    if user.is_superuser:
        links.append(("Admin", reverse("admin:index")))
    money = request.path.startswith((reverse("spending"), reverse("prices")))
    path = reverse("budgets") if money else request.path
    present = max((url for _, url in links if path.startswith(url)), key=len, default=None)
    return [{"label": label, "url": url, "current": url == present} for label, url in links]
