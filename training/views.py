"""The researcher's pages. Everything that changes a row goes through `training.actions`."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.models import Batch, Rollout
from annotation.views.guards import researcher_only
from training import actions, pages, proxy_pages, writers
from training.errors import ExperimentError, InvalidExperiment
from training.forms import ChangeForm, ExperimentForm, PromptForm, StopForm
from training.models import Experiment

PER_PAGE = 25
RECENT_JOBS = 6
PROMPT_PAGE = 5  # long texts, side by side with a prompt


def _visible(request: HttpRequest, slug: str) -> Experiment:
    return get_object_or_404(actions.visible_to(request.user).select_related("domain", "expert", "owner"), name=slug)


@researcher_only
@require_GET
def experiments(request: HttpRequest) -> HttpResponse:
    found = actions.visible_to(request.user).select_related("domain", "expert", "owner")
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    rows = [{"experiment": experiment, "samples": pages.samples(experiment)["total"], "reward": pages.last_reward(experiment)} for experiment in page]
    return render(request, "training/experiments.html", {"page": page, "rows": rows})


@researcher_only
@require_GET
def experiment(request: HttpRequest, slug: str) -> HttpResponse:
    found = _visible(request, slug)
    share, traces = pages.unscored(found)
    rounds = pages.rounds(found)
    context = {
        "experiment": found,
        "plan": found.plan,
        "awaited": writers.awaited(found),
        "waiting": pages.waiting_batches(found),
        "samples": pages.samples(found),
        "cost": pages.cost(found),
        "recovered": pages.recovered(found),
        "alignment": pages.alignment(found),
        "unscored": share,
        "traces": traces,
        "rounds": rounds,
        "measured": {name for row in rounds for name in row.measured},
        "signs": pages.signs_of(found),
        "versions": pages.versions(found),
        "jobs": pages.job_rows(found),
        "recent": RECENT_JOBS,
        "older": -RECENT_JOBS,
        "history": pages.history(found),
        "is_active": found.state in Experiment.ACTIVE,
    }
    return render(request, "training/experiment.html", context)


@researcher_only
@require_GET
def chart(request: HttpRequest, slug: str) -> HttpResponse:
    return JsonResponse(pages.chart(_visible(request, slug)))


@researcher_only
@require_POST
def act(request: HttpRequest, slug: str, verb: str) -> HttpResponse:
    """Start, pause or resume."""
    found = _visible(request, slug)
    try:
        {"start": actions.start, "pause": actions.pause, "resume": actions.resume}[verb](found, actor=request.user)
    except ExperimentError as exc:
        messages.error(request, getattr(exc, "note", str(exc)))
    return redirect("experiment", slug)


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def stop(request: HttpRequest, slug: str) -> HttpResponse:
    """Asks before it stops: a stopped experiment cannot go on."""
    found = _visible(request, slug)
    form = StopForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            actions.stop(found, reason=form.cleaned_data["reason"], actor=request.user)
        except ExperimentError as exc:
            messages.error(request, str(exc))
        return redirect("experiment", slug)
    return render(request, "training/stop.html", {"experiment": found, "form": form}, status=422 if form.errors else 200)


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def change(request: HttpRequest, slug: str) -> HttpResponse:
    """Another expert, another strategy, another budget, from the next batch on."""
    found = _visible(request, slug)
    now = {"expert": found.expert_id, "strategy": found.plan.strategy, "sample_budget": found.sample_budget}
    form = ChangeForm(request.POST if request.method == "POST" else None, initial=now, method=found.plan.protocol)
    if request.method == "POST" and form.is_valid():
        try:
            actions.change(found, actor=request.user, **form.cleaned_data)
        except InvalidExperiment as exc:
            for field, message in exc.errors.items():
                form.add_error(field if field in form.fields else None, message)
        except ExperimentError as exc:
            form.add_error(None, str(exc))
        else:
            messages.success(request, "Changed. It holds from the next batch on.")
            return redirect("experiment", slug)
    return render(request, "training/change.html", {"experiment": found, "form": form}, status=422 if form.errors else 200)


@researcher_only
@require_GET
def rollouts(request: HttpRequest, slug: str) -> HttpResponse:
    found = _visible(request, slug)
    asked_step, purpose = request.GET.get("step", ""), request.GET.get("purpose", "")
    step = int(asked_step) if asked_step.isdecimal() and len(asked_step) < 9 else None
    purposes = [*Batch.Purpose.choices, ("training", "training only")]
    purpose = purpose if purpose in dict(purposes) else ""
    page = Paginator(pages.rollouts(found, step, purpose), PER_PAGE).get_page(request.GET.get("page"))
    steps = Rollout.objects.filter(run__in=pages.runs(found)).order_by("step").values_list("step", flat=True).distinct()
    context = {"experiment": found, "page": page, "rows": pages.with_scores(found, list(page)), "steps": steps, "step": step, "purposes": purposes}
    return render(request, "training/rollouts.html", context | {"purpose": purpose})


@researcher_only
@require_GET
def rollout(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = _visible(request, slug)
    row = get_object_or_404(Rollout.objects.filter(run__in=pages.runs(found)).select_related("prompt"), pk=pk)
    context = {"experiment": found, "rollout": row, "traces": pages.traces(found, row), "verdicts": pages.verdicts(found, row)}
    return render(request, "training/rollout.html", context)


@researcher_only
@require_GET
def proxy(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """One version of the proxy: where it comes from, what it asks, and the verdicts that it learnt from."""
    found = _visible(request, slug)
    version = get_object_or_404(pages.proxies(found).select_related("experiment", "job", "parent"), number=number)
    learnt = version.feedback.select_related("item__rollout__prompt", "author", "expert").order_by("id")
    context = {
        "experiment": found,
        "proxy": version,
        "line": proxy_pages.line(version, request.user),
        "asked": proxy_pages.asked_by(version),
        "scores_alone": proxy_pages.gives_scores_alone(version),
        "rewriting": proxy_pages.rewriting(version),
        "probes": proxy_pages.probes(version),
        "search": found.stages.filter(kind="search", arguments__number=number, ended__isnull=False).first(),
        "page": Paginator(learnt, PER_PAGE).get_page(request.GET.get("page")),
    }
    return render(request, "training/proxy.html", context)


@researcher_only
@require_GET
def candidates(request: HttpRequest, slug: str, key: str) -> HttpResponse:
    """Every grading prompt that one search tried."""
    found = _visible(request, slug)
    stage = get_object_or_404(found.stages.select_related("experiment"), kind="search", key=key)
    return render(request, "training/candidates.html", {"experiment": found, "stage": stage, "tried": proxy_pages.tried(stage)})


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def prompt(request: HttpRequest, slug: str) -> HttpResponse:
    """A person writes the grading prompt that a search waits for. The form is sent for the preview and to turn pages too: the words stay."""
    found = _visible(request, slug)
    evidence = proxy_pages.evidence(found)
    if request.method != "POST":
        if evidence is None:
            messages.info(request, "No grading prompt is waited for now.")
            return redirect("experiment", slug)
        form = PromptForm(initial={"text": evidence.now[0].text})
    elif "send" in request.POST:
        form = PromptForm(request.POST)
        if form.is_valid() and _written(found, form, request.user):
            messages.success(request, "Thank you. The prompt is being tried on the texts that were kept for that.")
            return redirect("experiment", slug)
    else:
        form = PromptForm(initial={"text": request.POST.get("text", "")})
    text = str(form["text"].value() or "").replace("\r\n", "\n")
    page = Paginator(evidence.feedback if evidence else [], PROMPT_PAGE).get_page(request.POST.get("page"))
    context = {
        "experiment": found,
        "evidence": evidence,
        "form": form,
        "page": page,
        "rows": proxy_pages.compared(found, page),
        "shown": proxy_pages.filled(found, text, page[0] if len(page) else None) if evidence else None,
    }
    return render(request, "training/prompt.html", context, status=422 if form.errors else 200)


def _written(experiment: Experiment, form: PromptForm, user: Any) -> bool:
    try:
        actions.write_prompt(experiment, form.cleaned_data["text"], actor=user)
    except InvalidExperiment as exc:
        form.add_error("text", exc.errors["text"])
    except ExperimentError as exc:
        form.add_error(None, getattr(exc, "note", str(exc)))
    return form.is_valid()


@researcher_only
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """The form of a new experiment; choosing a preset fills in its numbers and keeps what was typed elsewhere."""
    if request.method != "POST":
        form = ExperimentForm.from_preset(request.GET.get("preset", ""), request.GET, request.user)
        return render(request, "training/new.html", {"form": form})
    form = ExperimentForm(request.POST, viewer=request.user)
    if form.is_valid():
        try:
            made = form.create(request.user)
        except InvalidExperiment as exc:
            form.take_errors(exc.errors)
        else:
            return _begin(request, made) if "start" in request.POST else redirect("experiment", made.name)
    return render(request, "training/new.html", {"form": form}, status=422)


def _begin(request: HttpRequest, made: Experiment) -> HttpResponse:
    try:
        actions.start(made, actor=request.user)
    except ExperimentError as exc:
        messages.error(request, getattr(exc, "note", str(exc)))
    return redirect("experiment", made.name)


@researcher_only
@require_POST
def estimate(request: HttpRequest) -> HttpResponse:
    """How many expert samples the numbers in the form would take, as a fragment."""
    form = ExperimentForm(request.POST, viewer=request.user)
    form.is_valid()
    return render(request, "training/_estimate.html", {"estimate": form.estimate()})
