"""Who can be asked, for admins. Everything that changes a row goes through `annotation.actions`."""

from __future__ import annotations

import uuid
from random import Random
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from annotation import actions, costs, quality, routing, selection
from annotation import spending as reading
from annotation.actions.budgets import affordable
from annotation.errors import AnnotationError, InvalidExpert, InvalidSelection
from annotation.forms import ExpertPageForm, NoiseForm
from annotation.models import Batch, Charge, Domain, Expert, Price, Rollout
from annotation.views.guards import admin_only

EXAMPLES = [
    ("A language model, and people audit a tenth of it", '{"rule": "audit", "first": "claude", "then": "panel", "share": 0.1}'),
    ("People first, a language model after two days", '{"rule": "fallback", "first": "panel", "then": "claude", "hours": 48}'),
    ("The mean of two verdicts", '{"rule": "average", "experts": ["claude", "claude"]}'),
]


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


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def noise(request: HttpRequest, alias: str) -> HttpResponse:
    """Says what measuring an expert's noise will cost, and asks for the verdicts on POST."""
    found = get_object_or_404(Expert, alias=alias)
    sent = request.POST if request.method == "POST" else request.GET or None
    form = NoiseForm(sent)
    estimate: dict[str, Any] | None = None
    if form.is_valid():
        wanted = form.cleaned_data
        texts = _texts(wanted["domain"], wanted["texts"], wanted["seed"])
        form.take_errors(_unfit(found, len(texts), **wanted))
        if not form.errors and request.method == "POST":
            try:
                batch = _ask(found, texts, request.user, **wanted)
            except AnnotationError as exc:
                form.add_error(None, str(exc))
            else:
                messages.success(request, "Asked. The spread is on the expert's page as verdicts come in.")
                return redirect("batch", batch.pk)
        if not form.errors:
            estimate = _estimate(found, wanted["domain"], len(texts) * wanted["times"])
    context = {"expert": found, "form": form, "estimate": estimate, "key": form.cleaned_data.get("key") or uuid.uuid4() if estimate else ""}
    return render(request, "annotation/expert_noise.html", context, status=422 if form.errors else 200)


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
    return {"form": form, "people": [form["members"], form["users"]], "examples": EXAMPLES, "price_names": names}


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


def _texts(domain: Domain, count: int, seed: int) -> list[int]:
    """So many rollouts of the domain at random; all of them where there are not more."""
    there = Rollout.objects.filter(prompt__domain=domain).exclude(content="").order_by("pk").values_list("pk", flat=True)
    return selection.at_random(there, count, Random(seed))


def _unfit(found: Expert, there: int, *, texts: int, times: int, **wanted: Any) -> dict[str, str]:
    """Why it cannot be measured like that, by field."""
    if found.kind == Expert.Kind.MIXED:
        return {"domain": f"{found.name} stands for several experts: measure each of those."}
    if not found.active:
        return {"domain": f"{found.name} is not active: nobody would answer."}
    if there < texts:
        return {"texts": f"There are {there} texts in this domain, which is fewer than {texts}."}
    people = found.members.filter(is_active=True).count()
    if found.kind == Expert.Kind.HUMAN and people < times:
        return {"times": f"Each verdict on a text comes from somebody else, and the panel has {people}: ask for at most {people}, or add members."}
    return {}


def _estimate(found: Expert, domain: Domain, verdicts: int) -> dict[str, Any]:
    """What so many verdicts will cost, as `costs.estimate` says it, and how many of them the hard budgets have room for."""
    now = timezone.now()
    with transaction.atomic():
        room = affordable(found, "", verdicts, costs.expected(found, domain, now).cost)
    return costs.estimate(found, domain, verdicts, now) | {"verdicts": verdicts, "room": room}


def _ask(found: Expert, chosen: list[int], actor: Any, *, domain: Domain, times: int, seed: int, key: Any, **wanted: Any) -> Batch:
    return actions.select_batch(
        key=f"noise/{found.alias}/{key or uuid.uuid4()}",
        title=f"Noise of {found.name}: {len(chosen)} texts, {times} times each"[:200],
        domain=domain,
        expert=found,
        purpose=Batch.Purpose.CALIBRATION,
        rollouts=chosen,
        reviewers=times,
        seed=seed,
        actor=actor,
    )
