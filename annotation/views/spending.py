"""Budgets, the ledger and prices, for admins. Everything that changes a row goes through `annotation.actions`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from annotation import actions
from annotation import spending as reading
from annotation.errors import InvalidBudget
from annotation.forms import BudgetForm, LimitForm, PeriodForm, PriceForm
from annotation.models import Budget, Expert, Price
from annotation.views.guards import admin_only

PER_PAGE = 30


@admin_only
@require_GET
def budgets(request: HttpRequest) -> HttpResponse:
    """All limits, those in force first."""
    ordered = Budget.objects.select_related("expert", "user").order_by(F("ended").desc(nulls_first=True), "pk")
    page = Paginator(ordered, PER_PAGE).get_page(request.GET.get("page"))
    rows = reading.described(list(page))
    parts = [("In force", [row for row in rows if row.budget.ended is None]), ("Ended", [row for row in rows if row.budget.ended is not None])]
    return render(request, "annotation/budgets.html", {"page": page, "parts": parts})


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def new_budget(request: HttpRequest) -> HttpResponse:
    """A limit where there is none yet; where there is one, it says so and leads there."""
    form = BudgetForm(request.POST if request.method == "POST" else None, experiments=reading.experiment_names())
    there = None
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        scope = {name: data[name] for name in ("expert", "experiment", "user", "unit")}
        there = Budget.objects.filter(ended=None, **scope).select_related("expert", "user").first()
        if there is None:
            try:
                made = actions.set_budget(**scope, limit=data["limit"], hard=data["hard"], actor=request.user)
            except InvalidBudget as exc:
                form.take_errors(exc.errors)
            else:
                messages.success(request, f"From now on: {made}.")
                return redirect("budgets")
    return render(request, "annotation/budget_new.html", {"form": form, "there": there}, status=422 if form.errors or there else 200)


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def budget(request: HttpRequest, pk: int) -> HttpResponse:
    """One limit: how it was spent, and a form that changes it."""
    found = _budget(pk)
    sent = request.POST if request.method == "POST" and found.ended is None else None
    form = LimitForm(sent, initial={"limit": f"{found.limit.normalize():f}", "hard": "yes" if found.hard else "no"})
    if sent is not None and form.is_valid():
        scope = {name: getattr(found, name) for name in ("expert", "experiment", "user", "unit")}
        try:
            actions.set_budget(**scope, **form.cleaned_data, actor=request.user)
        except InvalidBudget as exc:
            form.take_errors(exc.errors)
        else:
            messages.success(request, "Changed. It holds at once.")
            return redirect("budget", pk)
    form.fields["limit"].label = f"Limit in {found.get_unit_display()}"
    context = {"row": reading.described([found])[0], "budget": found, "form": form, "log": reading.log(f"budget:{pk}")}
    return render(request, "annotation/budget.html", context, status=422 if form.errors else 200)


@admin_only
@require_GET
def chart(request: HttpRequest, pk: int) -> HttpResponse:
    """What was spent by when, for `static/js/burn.js`."""
    return JsonResponse(reading.burn(_budget(pk), timezone.now()))


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def end_budget(request: HttpRequest, pk: int) -> HttpResponse:
    """Asks before it ends one: then nothing is limited there any more."""
    found = _budget(pk)
    if request.method == "POST":
        actions.end_budget(found, actor=request.user)
        messages.success(request, "Ended. It limits nothing any more.")
        return redirect("budgets")
    return render(request, "annotation/budget_end.html", {"row": reading.described([found])[0], "budget": found})


@admin_only
@require_GET
def spending(request: HttpRequest) -> HttpResponse:
    """Who spent what, in a period."""
    form = PeriodForm(request.GET)
    charges = reading.charged(*_period(form))
    totals = reading.totals(charges)
    context = {"form": form, "totals": totals, "tables": reading.tables(charges) if totals["samples"] is not None else []}
    context |= {"most": reading.MOST_LINES, "period": request.GET.urlencode()}
    return render(request, "annotation/spending.html", context, status=422 if form.errors else 200)


@admin_only
@require_GET
def as_csv(request: HttpRequest) -> HttpResponseBase:
    """The ledger of a period as a file, sent as it is read."""
    form = PeriodForm(request.GET)
    since, until = _period(form)
    if form.errors:
        return redirect(f"{reverse('spending')}?{request.GET.urlencode()}")  # which says what is wrong
    name = "-".join(["charges", *(str(day) for day in (since, until) if day)])
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingHttpResponse(_lines(reading.as_rows(reading.charged(since, until))), content_type="text/csv; charset=utf-8", headers=headers)


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def prices(request: HttpRequest) -> HttpResponse:
    """All prices by name, which of them holds today, and a form for a new one."""
    form = PriceForm(request.POST if request.method == "POST" else None, initial={"name": request.GET.get("name", "")})
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            made = actions.add_price(name=data["name"], since=data["since"], past=data["past"], actor=request.user, **form.amounts)
        except InvalidBudget as exc:
            form.take_errors(exc.errors)
        else:
            messages.success(request, f"{made.name} costs {reading.price_words(made)} from {made.since} on.")
            return redirect("prices")
    today = timezone.now().date()
    holds = {price.pk for price in reading.prices_today(today).values()}
    page = Paginator(Price.objects.order_by("name", "-since"), PER_PAGE).get_page(request.GET.get("page"))
    used: dict[str, list[str]] = {}
    for expert in Expert.objects.exclude(price=""):
        used.setdefault(expert.price, []).append(expert.name)
    rows = [
        {
            "price": price,
            "words": reading.price_words(price),
            "holds": price.pk in holds,
            "later": price.since > today,
            "used": used.get(price.name, []),
        }
        for price in page
    ]
    named = sorted({*used, *Price.objects.order_by().values_list("name", flat=True).distinct()})
    missing = sorted(name for name in used if name not in {price.name for price in reading.prices_today(today).values()})
    context = {
        "form": form,
        "rows": rows,
        "page": page,
        "names": named,
        "missing": missing,
        "asks_for_past": "since" in form.errors or form["past"].value(),
    }
    return render(request, "annotation/prices.html", context, status=422 if form.errors else 200)


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


def _lines(rows: Iterable[list[Any]]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    return (writer.writerow(row) for row in rows)


def _period(form: PeriodForm) -> tuple[Any, Any]:
    """What the form says; a day that is none is left out."""
    form.is_valid()
    return form.cleaned_data.get("since"), form.cleaned_data.get("until")


def _budget(pk: int) -> Budget:
    return get_object_or_404(Budget.objects.select_related("expert", "user"), pk=pk)
