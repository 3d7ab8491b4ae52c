"""What a reviewer has said so far: their verdicts, each with its revisions, compared with others and revised."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation import actions, desk
from annotation.errors import AlreadyAnswered, InvalidVerdict, NotYours
from annotation.forms import RevisionForm
from annotation.models import Feedback, Reveal
from annotation.views.guards import expert_only

PER_PAGE = 30


@expert_only
@require_GET
def verdicts(request: HttpRequest) -> HttpResponse:
    """All verdicts of this person that stand, newest first."""
    mine = _own(request).filter(current=True).order_by("-submitted", "-pk")
    page = Paginator(mine, PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "annotation/verdicts.html", {"page": page, "today": desk.verdicts_today(request.user)})


@expert_only
@require_GET
def verdict(request: HttpRequest, pk: int) -> HttpResponse:
    """One verdict with the text, its revisions and, once asked for, what others said."""
    return render(request, "annotation/verdict.html", _context(get_object_or_404(_own(request), pk=pk)))


@expert_only
@require_POST
def compare(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what the proxy and others said of the text; what is written on it from now on is assisted."""
    actions.reveal(get_object_or_404(_own(request), pk=pk), user=request.user)
    return redirect("verdict", pk)


@expert_only
@require_http_methods(["GET", "HEAD", "POST"])
def revise(request: HttpRequest, pk: int) -> HttpResponse:
    """Correct a verdict: the new one stands in its place, the old one is kept."""
    old = get_object_or_404(_own(request), pk=pk)
    domain = old.item.batch.domain
    if request.method != "POST":
        form = RevisionForm(initial=desk.words(old) | {"key": str(uuid.uuid4())}, domain=domain)
        return render(request, "annotation/revise.html", _context(old) | {"form": form})
    form = RevisionForm(request.POST, domain=domain)
    if form.is_valid():
        try:
            new = actions.revise_feedback(old, user=request.user, **form.cleaned_data)
        except InvalidVerdict as exc:
            for field, message in exc.errors.items():
                form.add_error(field if field in form.fields else None, message)
        except (AlreadyAnswered, NotYours) as exc:
            form.add_error(None, str(exc))
        else:
            messages.success(request, "Revised. The earlier verdict is kept below.")
            return redirect("verdict", new.pk)
    return render(request, "annotation/revise.html", _context(old) | {"form": form}, status=422)


def _own(request: HttpRequest) -> QuerySet[Feedback]:
    return Feedback.objects.filter(author=request.user.pk).select_related("item__batch__domain", "item__rollout__prompt")


def _context(row: Feedback) -> dict[str, Any]:
    item = row.item
    spans = list(row.spans.all())
    context: dict[str, Any] = {
        "feedback": row,
        "item": item,
        "domain": item.batch.domain,
        "purpose": desk.PURPOSES[item.batch.Purpose(item.batch.purpose)],
        "prompt": item.rollout.prompt.text,
        "content": item.rollout.content,
        "segments": desk.segments(item.rollout.content, spans),
        "spans": spans,
        "revisions": Feedback.objects.filter(item=item, author=row.author_id).exclude(pk=row.pk).order_by("-revision"),
        "revealed": Reveal.objects.filter(user=row.author_id, rollout=item.rollout_id).exists(),
    }
    return context | ({"comparison": desk.comparison(row)} if context["revealed"] else {})
