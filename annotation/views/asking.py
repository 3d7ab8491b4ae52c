"""Asking an expert outside of experiments: how steady it is, and what it makes of texts that were imported.

Both say first what that costs, and ask on POST. What came of it is on the expert's page and on the domain's. Everything that changes a row goes
through `annotation.actions`.
"""

from __future__ import annotations

import uuid
from random import Random
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from annotation import actions, costs, export, selection
from annotation.actions.budgets import affordable
from annotation.domain_forms import AskForm, imported_rollouts
from annotation.errors import AnnotationError, InvalidSelection
from annotation.expert_forms import NoiseForm
from annotation.forms import Plain
from annotation.models import Batch, Domain, Expert, Feedback, Item, Rollout
from annotation.routing import rule_of
from annotation.views.batches import Reasoned, describe
from annotation.views.guards import admin_only, researcher_only

# Noise -----------------------------------------------------------------------------------------------------------------------


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def noise(request: HttpRequest, alias: str) -> HttpResponse:
    """Measuring an expert's noise: the same texts, several times each."""
    found = get_object_or_404(Expert, alias=alias)
    form = NoiseForm(request.POST if request.method == "POST" else request.GET or None)
    context: dict[str, Any] = {"expert": found, "form": form}
    if form.is_valid():
        wanted = form.cleaned_data
        texts = _any_texts(wanted["domain"], wanted["texts"], wanted["seed"])
        form.take_errors(_unfit_for_noise(found, len(texts), **wanted))
        if not form.errors and request.method == "POST":
            title = f"Noise of {found.name}: {len(texts)} texts, {wanted['times']} times each"
            own = {"domain": wanted["domain"], "expert": found, "purpose": Batch.Purpose.CALIBRATION, "seed": wanted["seed"]}
            if batch := _ask(form, _key("noise", found.alias, wanted["key"]), title, texts, actor=request.user, **own):
                messages.success(request, "Asked. The spread is on the expert's page as verdicts come in.")
                return redirect("batch", batch.pk)
        if not form.errors:
            context |= _before(form, found, wanted["domain"], len(texts) * wanted["times"])
    return render(request, "annotation/expert_noise.html", context, status=422 if form.errors else 200)


def _any_texts(domain: Domain, count: int, seed: int) -> list[int]:
    """So many rollouts of the domain at random; all of them where there are not more."""
    there = Rollout.objects.filter(prompt__domain=domain).exclude(content="").order_by("pk").values_list("pk", flat=True)
    return selection.at_random(there, count, Random(seed))


def _unfit_for_noise(found: Expert, there: int, *, texts: int, times: int, **wanted: Any) -> dict[str, str]:
    """Why it cannot be measured like that, by field."""
    if found.kind == Expert.Kind.MIXED:
        return {"domain": f"{found.name} stands for several experts: measure each of those."}
    if not found.active:
        return {"domain": f"{found.name} is not active: nobody would answer."}
    if there < texts:
        return {"texts": f"There are {there} texts in this domain, which is fewer than {texts}."}
    return _too_few_people(found, times)


# Imported texts --------------------------------------------------------------------------------------------------------------


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def imported(request: HttpRequest, slug: str) -> HttpResponse:
    """Having imported texts judged by an expert."""
    domain = get_object_or_404(Domain, slug=slug)
    form = AskForm(request.POST if request.method == "POST" else request.GET or None, domain=domain, user=request.user)
    context: dict[str, Any] = {"domain": domain, "form": form}
    if form.is_valid():
        wanted = form.cleaned_data
        left = _left(domain, **wanted)
        texts = selection.at_random(left, wanted["texts"] or len(left), Random(0))
        form.take_errors(_unfit_for_asking(len(left), **wanted))
        if not form.errors and request.method == "POST":
            count = f"{len(texts):,} text{'' if len(texts) == 1 else 's'}"
            own = {"domain": domain, "expert": wanted["expert"], "purpose": Batch.Purpose.IMPORTED, "note": wanted["note"]}
            if _ask(form, _key("imported", slug, wanted["key"]), f"{form.name}: {count}", texts, actor=request.user, **own):
                messages.success(request, f"Asked. {wanted['expert'].name} has {count} to judge.")
                return redirect("domain", slug)
        if not form.errors:
            context |= _before(form, wanted["expert"], domain, len(texts) * wanted["times"]) | {"texts": len(texts)}
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


def _left(domain: Domain, *, run: str, expert: Expert, again: bool, key: Any, **wanted: Any) -> list[int]:
    """The texts of an import in order; without `again` those that the expert has not been asked about, except by this very form."""
    rollouts = imported_rollouts(domain).filter(run=run).exclude(content="")
    if not again:
        asked = Item.objects.filter(batch__expert=expert, rollout__run=run).exclude(state=Item.State.CANCELLED)
        asked = asked.exclude(batch__key=_key("imported", domain.slug, key))
        rollouts = rollouts.exclude(pk__in=asked.values("rollout"))
    return list(rollouts.order_by("pk").values_list("pk", flat=True))


def _unfit_for_asking(left: int, *, expert: Expert, texts: int | None, times: int, again: bool, **wanted: Any) -> dict[str, str]:
    """Why that cannot be asked, by field."""
    if not left and again:
        return {"run": "These texts are all empty."}
    if not left:
        return {"again": f"{expert.name} has been asked about all of these texts. Tick this to ask again."}
    if texts and left < texts:
        return {"texts": f"There are {left}{'' if again else ' that were not asked about'}, which is fewer than {texts}. Leave it empty for all."}
    if expert.kind == Expert.Kind.MIXED and times > 1:
        return {"times": f"{expert.name} stands for several experts: its rule says how many verdicts a text gets. Leave it at 1."}
    return _too_few_people(expert, times)


# Both ------------------------------------------------------------------------------------------------------------------------


def _too_few_people(found: Expert, times: int) -> dict[str, str]:
    people = found.members.filter(is_active=True).count()
    if found.kind == Expert.Kind.HUMAN and people < times:
        if not people:
            return {"expert": f"{found.name} has no members: nobody would answer. An admin can add some on its page."}
        return {"times": f"Each verdict on a text comes from somebody else, and the panel has {people}: ask for at most {people}, or add members."}
    return {}


def _key(what: str, whose: str, sent: uuid.UUID | None) -> str:
    """The batch's key: the same when the same form is sent twice."""
    return f"{what}/{whose}/{sent or uuid.uuid4()}"


def _ask(form: Plain, key: str, title: str, texts: list[int], **batch: Any) -> Batch | None:
    """The batch; None where it cannot be, and the form says why."""
    try:
        return actions.select_batch(key=key, title=title[:200], rollouts=texts, reviewers=form.cleaned_data["times"], **batch)
    except AnnotationError as exc:
        form.add_error(None, str(exc))
        return None


def _before(form: Plain, expert: Expert, domain: Domain, texts: int) -> dict[str, Any]:
    """What is said before anybody is asked about so many texts (one that is judged twice counts twice): an `estimate`, and a `key` for the form.

    The estimate is that of `costs.estimate`, with the experts for whom budgets have too little room in `short`.
    """
    try:
        count = round(texts * rule_of(expert).verdicts_per_text)
        now, short = timezone.now(), []
        with transaction.atomic():
            for one, wanted in costs.shared_out(expert, count).items():
                room = affordable(one, "", wanted, costs.expected(one, domain, now).cost)
                if room < wanted:
                    short.append({"expert": one, "wanted": wanted, "room": room})
        estimate = costs.estimate(expert, domain, count, now) | {"verdicts": count, "short": short}
    except InvalidSelection as exc:  # the rule of an expert that stands for several
        form.add_error("expert" if "expert" in form.fields else None, str(exc))
        return {}
    return {"estimate": estimate, "key": form.cleaned_data.get("key") or uuid.uuid4()}
