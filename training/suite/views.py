"""The pages of suites. Everything that changes a row goes through `training.suite.actions`."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.views.guards import researcher_only
from training.errors import InvalidExperiment
from training.models import Suite
from training.suite import actions, figures, files, pages, tables
from training.suite.forms import SuiteForm
from training.suite.report import cached

PER_PAGE = 25
DOWNLOADS = {
    "json": ("application/json", files.as_json),
    "csv": ("text/csv; charset=utf-8", tables.as_csv),
    "md": ("text/markdown; charset=utf-8", tables.markdown),
}


def _visible(request: HttpRequest, slug: str) -> Suite:
    return get_object_or_404(actions.visible_to(request.user).select_related("domain", "expert", "owner"), name=slug)


@researcher_only
@require_GET
def suites(request: HttpRequest) -> HttpResponse:
    page = Paginator(actions.visible_to(request.user).select_related("domain", "expert", "owner"), PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "training/suites.html", {"page": page, "rows": [(suite, pages.progress(suite)) for suite in page]})


@researcher_only
@require_GET
def suite(request: HttpRequest, slug: str) -> HttpResponse:
    found = _visible(request, slug)
    return render(request, "training/suite.html", {"suite": found, "progress": pages.progress(found)})


@researcher_only
@require_GET
def results(request: HttpRequest, slug: str) -> HttpResponse:
    """The table and the figures, as a fragment: measuring may take some seconds after a run has ended, and the page does not wait for it."""
    found = _visible(request, slug)
    shown = cached(found)
    drawn = figures.FIGURES if figures.measured(shown) else {}
    context = {"suite": found, "results": shown, "figures": drawn, "head": tables.HEAD, "rows": pages.cells(shown)}
    return render(request, "training/_suite_results.html", context | {"legend": tables.LEGEND, "promises": pages.promises(shown)})


@researcher_only
@require_GET
def download(request: HttpRequest, slug: str, kind: str) -> HttpResponse:
    found = _visible(request, slug)
    if kind not in DOWNLOADS:
        raise Http404
    mime, write = DOWNLOADS[kind]
    return HttpResponse(write(cached(found)), content_type=mime, headers={"Content-Disposition": f'attachment; filename="{slug}.{kind}"'})


@researcher_only
@require_GET
def figure(request: HttpRequest, slug: str, figure: str, kind: str) -> HttpResponse:
    found = _visible(request, slug)
    if figure not in figures.FIGURES or kind not in figures.KINDS:
        raise Http404
    drawn = pages.figure(cached(found), figure, kind, dark=request.GET.get("ground") == "dark")
    # An SVG has its looks in attributes. It may have nothing else, opened by itself too.
    own = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return HttpResponse(drawn, content_type=figures.KINDS[kind], headers=own | {"Content-Disposition": f'inline; filename="{slug}-{figure}.{kind}"'})


@researcher_only
@require_POST
def act(request: HttpRequest, slug: str, verb: str) -> HttpResponse:
    """Start or stop."""
    {"start": actions.start, "stop": actions.stop}[verb](_visible(request, slug), actor=request.user)
    return redirect("suite", slug)


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    form = SuiteForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            made = form.create(request.user)
        except InvalidExperiment as exc:
            form.take_errors(exc.errors)
        else:
            if "start" in request.POST:
                actions.start(made, actor=request.user)
            return redirect("suite", made.name)
    return render(request, "training/suite_new.html", {"form": form}, status=422 if form.errors else 200)


@researcher_only
@require_POST
def estimate(request: HttpRequest) -> HttpResponse:
    """How many experiments and expert samples the form would take, as a fragment."""
    form = SuiteForm(request.POST)
    form.is_valid()
    return render(request, "training/_suite_estimate.html", {"estimate": form.estimate()})
