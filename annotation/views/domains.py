"""Domains for researchers: what is asked, how it is graded, and what there is. Everything that changes a row goes through `annotation.actions`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Avg, Count, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation import actions, domain_forms, querysets, readers, ready, trials
from annotation import preview as rendering
from annotation.asking import imported_rollouts
from annotation.domain_forms import DomainForm, ImportForm, SampleForm, TrialForm
from annotation.errors import AnnotationError, InvalidDomain, Unreadable
from annotation.models import AuditEntry, Batch, Domain, Expert, Prompt, digest_of
from annotation.views.batches import describe
from annotation.views.guards import researcher_only
from grading.realign.context import CONTEXT_PROMPT

PER_PAGE = 20
SHOWN = 50  # broken rows of a file that are named one by one
VERSIONS = 20  # earlier wordings that are shown
ASKED = 20  # batches of imported texts that are shown, the latest


@researcher_only
@require_GET
def domains(request: HttpRequest) -> HttpResponse:
    """All domains with their prompts, and those that can be loaded."""
    train, evaluation = (Count("prompts", filter=Q(prompts__split=split)) for split in (Prompt.Split.TRAIN, Prompt.Split.EVAL))
    found = list(Domain.objects.annotate(train=train, evaluation=evaluation).order_by("name"))
    there = {domain.slug for domain in found}
    waiting = [ready.read(name) for name in ready.names() if name not in there]
    return render(request, "annotation/domains.html", {"domains": found, "ready": waiting})


@researcher_only
@require_POST
def load(request: HttpRequest, name: str) -> HttpResponse:
    """Load one that comes with Touchstone."""
    try:
        domain, report = actions.load_ready(name, actor=request.user)
    except KeyError as exc:
        raise Http404 from exc
    messages.success(request, f"{domain.name} is there, with {report.created} new prompts.")
    return redirect("domain", domain.slug)


@researcher_only
@require_GET
def domain(request: HttpRequest, slug: str) -> HttpResponse:
    """One domain: its prompts, its words, and what its words were before."""
    found = get_object_or_404(Domain, slug=slug)
    counts: dict[str, int] = dict(found.prompts.order_by().values_list("split").annotate(n=Count("pk")))
    split = request.GET.get("split", "")
    split = split if split in Prompt.Split.values else ""
    prompts = found.prompts.filter(split=split) if split else found.prompts.all()
    context = {
        "domain": found,
        "train": counts.get(Prompt.Split.TRAIN, 0),
        "evaluation": counts.get(Prompt.Split.EVAL, 0),
        "imports": imported_rollouts(found).order_by().values("run").annotate(n=Count("pk")).order_by("run"),
        "asked": _asked_about(found),
        "split": split,
        "page": Paginator(prompts.order_by("pk"), PER_PAGE).get_page(request.GET.get("page")),
        "words": [
            ("Generation prompt", found.generation_prompt),
            ("Grading prompt", found.grading_prompt),
            ("Rubric-writing prompt", found.rubric_prompt),
            ("Prompt with the expert's words", found.context_prompt or CONTEXT_PROMPT),
        ],
        "versions": AuditEntry.objects.filter(target=f"domain:{found.pk}", verb="edited").select_related("actor")[:VERSIONS],
    }
    return render(request, "annotation/domain.html", context)


def _asked_about(domain: Domain) -> list[dict[str, Any]]:
    """The latest batches of the domain's imported texts, each with its counts and the mean of its scores."""
    latest = Batch.objects.filter(domain=domain, purpose=Batch.Purpose.IMPORTED).select_related("domain", "expert").order_by("-pk")[:ASKED]
    means = {"mean": Avg("score"), "scored": Count("score"), "verdicts": Count("pk")}
    return [{"row": row} | querysets.verdicts(row.batch).order_by().aggregate(**means) for row in describe(list(latest))]


# Writing ---------------------------------------------------------------------------------------------------------------------


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    return _write(request, Domain())


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, slug: str) -> HttpResponse:
    return _write(request, get_object_or_404(Domain, slug=slug))


def _write(request: HttpRequest, domain: Domain) -> HttpResponse:
    is_new, sent = domain.pk is None, request.method == "POST"
    stored = Domain() if is_new else Domain.objects.get(pk=domain.pk)  # the form writes into its instance
    form = DomainForm(request.POST if sent else None, instance=domain)
    seen = _state(stored)
    if sent and not is_new and request.POST.get("seen", seen) != seen:
        form.add_error(
            None, "It was changed since you opened it. Save again to put your words in place of what stands there now, which is kept below."
        )
    if sent and form.is_valid():
        try:
            saved = actions.save_domain(form.instance, actor=request.user)
        except InvalidDomain as exc:
            for name, message in exc.errors.items():
                form.add_error(name if name in form.fields else None, message)
        else:
            messages.success(request, "The domain is made. Now it needs prompts." if is_new else "Saved. What stood there before is kept below.")
            return redirect("domain", saved.slug)
    sample = SampleForm(request.POST if sent else None, domain=stored, initial=_first_prompt(stored))
    if is_new and not sent:
        domain.grading_prompt = form.initial["grading_prompt"]
    shown = _preview(form.unchecked() if sent else domain, sample, stored)
    context = {"form": form, "sample": sample, "domain": stored, "is_new": is_new, "shown": shown, "seen": seen}
    return render(request, "annotation/domain_edit.html", context, status=422 if form.errors else 200)


def _state(domain: Domain) -> str:
    """A digest of all that can be edited."""
    return digest_of(repr([getattr(domain, name) for name in DomainForm.Meta.fields]))


@researcher_only
@require_POST
def preview(request: HttpRequest) -> HttpResponse:
    """Both prompts as they would be read, from what is typed so far, as a fragment."""
    stored = Domain.objects.filter(slug=request.GET.get("of", "")).first() or Domain()
    form = DomainForm(request.POST, instance=Domain.objects.get(pk=stored.pk) if stored.pk else None)
    return render(request, "annotation/_preview.html", {"shown": _preview(form.unchecked(), SampleForm(request.POST, domain=stored), stored)})


def _preview(domain: Domain, sample: SampleForm, stored: Domain) -> rendering.Preview:
    if not sample.is_bound:
        prompt = stored.prompts.order_by("pk").first() if stored.pk else None
        return rendering.preview(domain, prompt.variables if prompt else None)
    sample.is_valid()
    return rendering.preview(domain, sample.prompt.variables if sample.prompt else None, sample.text)


def _first_prompt(domain: Domain) -> dict[str, Any]:
    return {"sample_prompt": domain.prompts.order_by("pk").values_list("pk", flat=True).first()} if domain.pk else {}


# Files -----------------------------------------------------------------------------------------------------------------------


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def bring_in(request: HttpRequest, slug: str) -> HttpResponse:
    """Check a file of prompts or rollouts, say what would come of each row, and bring it in when that is confirmed."""
    found = get_object_or_404(Domain, slug=slug)
    sent = request.method == "POST"
    form = ImportForm(request.POST, request.FILES) if sent else ImportForm()
    context: dict[str, Any] = {"domain": found, "form": form}
    if sent and form.is_valid():
        data, mark = form.cleaned_data, _mark(form.cleaned_data)
        confirmed = request.POST.get("do") == "import" and data["checked"] == mark
        try:
            with _on_disk(data["file"]) as path:
                report = _bring_in(found, path, data, request.user, dry_run=not confirmed)
                context |= {"report": report, "unit": readers.unit(path).capitalize()}
        except AnnotationError as exc:
            form.add_error("file", str(exc))
        else:
            if confirmed:
                broken = f" {report.broken} broken rows stayed out." if report.broken else ""
                messages.success(request, f"{report.created} new {data['kind']} came in, {report.existing} were there already.{broken}")
                return _go(request, reverse("domain", args=[slug]))
            context |= {"mark": mark, "shown": report.errors[:SHOWN], "more": report.broken - len(report.errors[:SHOWN])}
            context["changed"] = request.POST.get("do") == "import"
    by_htmx = "HX-Request" in request.headers  # which puts no answer with an error's status into the page
    return render(request, "annotation/domain_import.html", context, status=422 if form.errors and not by_htmx else 200)


def _bring_in(domain: Domain, path: Path, data: dict[str, Any], user: Any, *, dry_run: bool) -> actions.ImportReport:
    options: dict[str, Any] = {"actor": user, "dry_run": dry_run}
    rows = _not_too_many(readers.rows(path))
    if data["kind"] == "prompts":
        return actions.import_prompts(domain, data["split"] or None, rows, **options)
    return actions.import_rollouts(domain, rows, name=data["name"], split=data["split"] or None, **options)


def _not_too_many(rows: Iterator[readers.Row]) -> Iterator[readers.Row]:
    for count, row in enumerate(rows, start=1):
        if count > domain_forms.MOST_ROWS:  # a small file can hold millions
            command = "Use manage.py import_prompts or import_rollouts."
            raise Unreadable(f"It has more than {domain_forms.MOST_ROWS:,} rows, which is the most here. {command}")
        yield row


def _mark(data: dict[str, Any]) -> str:
    """What was checked: the file and what was said about it. Only that is brought in on confirmation."""
    digest = hashlib.sha256("\0".join((data["kind"], data["split"], data["name"].strip())).encode())
    for chunk in data["file"].chunks():
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _on_disk(file: Any) -> Iterator[Path]:
    """The uploaded file under its own kind of name."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{Path(file.name).suffix.lower()}"
        with path.open("wb") as copy:
            for chunk in file.chunks():
                copy.write(chunk)
        yield path


def _go(request: HttpRequest, address: str) -> HttpResponse:
    if "HX-Request" in request.headers:
        return HttpResponse(status=200, headers={"HX-Redirect": address})
    return redirect(address)


# Trials ----------------------------------------------------------------------------------------------------------------------


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def trial(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask a program or a language model about one text. A task asks it; nothing is kept of it but for an hour."""
    found = get_object_or_404(Domain, slug=slug)
    sent = request.method == "POST"
    form = TrialForm(request.POST if sent else None, domain=found, user=request.user, initial=_first_prompt(found))
    if sent and form.is_valid():
        instructions = form.prompt.text if form.prompt else ""
        token = trials.start(user=request.user, domain=found, expert=form.cleaned_data["expert"], instructions=instructions, content=form.text)
        return redirect("domain-trial-outcome", slug, token)
    nobody = not querysets.usable_by(request.user).filter(kind__in=Expert.ALONE).exists()
    return render(request, "annotation/domain_trial.html", {"domain": found, "form": form, "nobody": nobody}, status=422 if form.errors else 200)


@researcher_only
@require_GET
def outcome(request: HttpRequest, slug: str, token: UUID) -> HttpResponse:
    """What came of a trial; the page looks again by itself until there is something."""
    found = get_object_or_404(Domain, slug=slug)
    what = trials.find(str(token), user=request.user, domain=found)
    if what is None:
        raise Http404
    return render(request, "annotation/domain_trial_outcome.html", {"domain": found, "trial": what})
