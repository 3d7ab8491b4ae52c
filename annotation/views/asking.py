"""Asking an expert outside of experiments: how steady it is, and what it makes of texts that were imported.

Both say first what that costs, and ask on POST. What came of it is on the expert's page and on the domain's. Everything that changes a row goes
through `annotation.actions`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from annotation import actions, asking, export
from annotation.domain_forms import AskForm
from annotation.errors import AnnotationError, InvalidRequest
from annotation.expert_forms import NoiseForm
from annotation.forms import Plain
from annotation.models import Batch, Domain, Expert, Feedback
from annotation.views.batches import Reasoned, describe
from annotation.views.guards import admin_only, researcher_only

T = TypeVar("T")

# Noise -----------------------------------------------------------------------------------------------------------------------


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def noise(request: HttpRequest, alias: str) -> HttpResponse:
    """Measuring an expert's noise: the same texts, several times each."""
    found = get_object_or_404(Expert, alias=alias)
    form = NoiseForm(request.POST if request.method == "POST" else request.GET or None)
    context: dict[str, Any] = {"expert": found, "form": form}
    wanted = form.cleaned_data if form.is_valid() else {}
    texts = _tried(form, lambda: asking.any_texts(found, wanted["domain"], wanted["texts"], wanted["times"], wanted["seed"])) or []
    if texts and request.method == "POST":
        own = {"domain": wanted["domain"], "expert": found, "purpose": Batch.Purpose.CALIBRATION, "rollouts": texts, "reviewers": wanted["times"]}
        title = f"Noise of {found.name}: {len(texts)} texts, {wanted['times']} times each"
        key = asking.key_of("noise", found.alias, wanted["key"])
        batch = _tried(form, lambda: actions.select_batch(key=key, title=title, seed=wanted["seed"], actor=request.user, **own))
        if batch:
            messages.success(request, "Asked. The spread is on the expert's page as verdicts come in.")
            return redirect("batch", batch.pk)
    if texts:
        context |= _costs(form, found, wanted["domain"], len(texts) * wanted["times"])
    return render(request, "annotation/expert_noise.html", context, status=422 if form.errors else 200)


# Imported texts --------------------------------------------------------------------------------------------------------------


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def imported(request: HttpRequest, slug: str) -> HttpResponse:
    """Having imported texts judged by an expert."""
    domain = get_object_or_404(Domain, slug=slug)
    form = AskForm(request.POST if request.method == "POST" else request.GET or None, domain=domain, user=request.user)
    context: dict[str, Any] = {"domain": domain, "form": form}
    if form.is_valid():
        wanted, note = form.wanted, form.cleaned_data["note"]
        key = wanted.key(form.cleaned_data["key"])
        texts = _tried(form, lambda: wanted.rollouts(key)) or []
        batch = _tried(form, lambda: wanted.ask(key, texts, note=note, actor=request.user)) if texts and request.method == "POST" else None
        if batch:
            messages.success(request, f"Asked. {wanted.expert.name} has {asking.count_of(texts)} to judge.")
            return redirect("domain", slug)
        context |= _costs(form, wanted.expert, domain, len(texts) * wanted.times) | {"texts": len(texts), "wanted": wanted}
    return render(request, "annotation/domain_ask.html", context, status=422 if form.errors else 200)


@researcher_only
@require_GET
def verdicts(request: HttpRequest, slug: str, pk: int) -> HttpResponseBase:
    """The verdicts on imported texts as JSON lines, as `manage.py export_feedback` writes them, sent as they are read."""
    standing = Feedback.objects.filter(item__batch=_given(slug, pk), current=True, counted=True)
    lines = (export.line(row) + "\n" for row in export.rows(standing))
    headers = {"Content-Disposition": f'attachment; filename="verdicts-{slug}-{pk}.jsonl"'}
    return StreamingHttpResponse(lines, content_type="application/jsonl; charset=utf-8", headers=headers)


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def stop(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Asks before it wants no more verdicts on imported texts; those that are there stay."""
    batch = _given(slug, pk)
    form = Reasoned(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        actions.close_batch(batch, actor=request.user, reason=form.cleaned_data["reason"])
        messages.success(request, f"{batch.expert.name} is asked no more. The verdicts that are there stay.")
        return redirect("domain", slug)
    context = {"batch": batch, "row": describe([batch])[0], "form": form}
    return render(request, "annotation/domain_ask_stop.html", context, status=422 if form.errors else 200)


def _given(slug: str, pk: int) -> Batch:
    related = Batch.objects.select_related("domain", "expert")
    return get_object_or_404(related, pk=pk, domain__slug=slug, purpose=Batch.Purpose.IMPORTED)


# Both ------------------------------------------------------------------------------------------------------------------------


def _tried(form: Plain, do: Callable[[], T]) -> T | None:
    """What `do` gives; None where the form is not right, or somebody cannot be asked like that, which the form then says."""
    if not form.is_valid():
        return None
    try:
        return do()
    except InvalidRequest as exc:
        form.take_errors(exc.errors)
    except AnnotationError as exc:
        form.add_error(None, str(exc))
    return None


def _costs(form: Plain, expert: Expert, domain: Domain, texts: int) -> dict[str, Any]:
    """What is said before anybody is asked about so many texts: an `estimate`, and a `key` for the form."""
    estimate = _tried(form, lambda: asking.estimate(expert, domain, texts))
    return {"estimate": estimate, "key": form.cleaned_data.get("key") or uuid.uuid4()} if estimate else {}
