"""Who can be asked, for admins. Everything that changes a row goes through `annotation.actions`."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Count, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from annotation import actions, costs, quality, routing
from annotation import spending as reading
from annotation.errors import InvalidExpert, InvalidSelection
from annotation.expert_forms import ExpertPageForm, NoiseForm
from annotation.models import Batch, Charge, Domain, Expert, Price
from annotation.views.guards import admin_only


@admin_only
@require_GET
def experts(request: HttpRequest) -> HttpResponse:
    """Everybody who can be asked, with what they cost."""
    found = Expert.objects.prefetch_related("users").annotate(people=Count("members", filter=Q(members__is_active=True), distinct=True))
    ordered = list(found.order_by("-active", "name"))
    names = {expert.alias: expert.name for expert in ordered}
    prices = reading.prices_today(timezone.now().date())
    charged = Charge.objects.order_by().values("expert").annotate(verdicts=Sum("samples"), cost=Sum("money"), spent=Sum("minutes"))
    sums = {row["expert"]: row for row in charged}
    rows = [
        {
            "expert": expert,
            "by": routing.words(expert.options, names) if expert.kind == Expert.Kind.MIXED else expert.backend,
            "price": reading.price_words(prices.get(expert.price)),
            "users": [user.get_username() for user in expert.users.all()],
            "sums": sums.get(expert.pk),
        }
        for expert in ordered
    ]
    return render(request, "annotation/experts.html", {"rows": rows})


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    form = ExpertPageForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and (made := _save(request, form)):
        messages.success(request, f"{made.name} can be asked from now on.")
        return redirect("expert", made.alias)
    return render(request, "annotation/expert_new.html", _around(form), status=422 if form.errors else 200)


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def expert(request: HttpRequest, alias: str) -> HttpResponse:
    """One expert: a form that changes it, how steady it is, and what was changed before."""
    found = get_object_or_404(Expert, alias=alias)
    form = ExpertPageForm(request.POST if request.method == "POST" else None, instance=get_object_or_404(Expert, pk=found.pk))
    if request.method == "POST" and _save(request, form):
        messages.success(request, "Changed. It holds from the next text on.")
        return redirect("expert", alias)
    price = costs.price_of(found, timezone.now().date())
    context = _around(form) | {
        "expert": found,
        "price": reading.price_words(price),
        "rule": _rule(found),
        "amiss": _amiss(found),
        "spreads": quality.spreads(found),
        "measuring": Batch.objects.filter(expert=found, purpose=Batch.Purpose.CALIBRATION, closed=None),
        "noise": NoiseForm(),
        "domains": Domain.objects.exists(),
        "log": reading.log(f"expert:{found.pk}"),
    }
    return render(request, "annotation/expert.html", context, status=422 if form.errors else 200)


def _save(request: HttpRequest, form: ExpertPageForm) -> Expert | None:
    """What the form says, saved; None where something is wrong with it, which then stands beside its fields."""
    if not form.is_valid():
        return None
    data = form.cleaned_data
    try:
        return actions.save_expert(form.instance, members=data["members"], users=data["users"], actor=request.user)
    except InvalidExpert as exc:
        for name, message in exc.errors.items():
            form.add_error(name, message)
        return None


def _around(form: ExpertPageForm) -> dict[str, Any]:
    names = Price.objects.order_by("name").values_list("name", flat=True).distinct()
    return {"form": form, "people": [form["members"], form["users"]], "price_names": names}


def _rule(found: Expert) -> str:
    if found.kind != Expert.Kind.MIXED:
        return ""
    return routing.words(found.options, dict(Expert.objects.values_list("alias", "name")))


def _amiss(found: Expert) -> str:
    """Why its rule cannot be followed any more; "" where it can."""
    try:
        routing.rule_of(found)
    except InvalidSelection as exc:
        return str(exc)
    return ""
