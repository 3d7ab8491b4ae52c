"""The reviewer's pages: the queue, one text and the form for the verdict on it."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation import actions, desk, quality, roles
from annotation.errors import AlreadyAnswered, AnnotationError, ClaimLost, DraftConflict, InvalidVerdict
from annotation.forms import DeclineForm, VerdictForm, read_spans
from annotation.models import Batch, Claim, Domain, Draft, Feedback
from annotation.views.guards import expert_only, signed_in_only

SHORT_PROMPT = 320  # characters that are shown unfolded
REVOKED = "You are no longer on the panel that judges this text, so nothing more of it is taken. Your words are still here to copy."


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """To where this person works."""
    if roles.is_researcher(request.user):
        return redirect("experiments")
    if roles.is_expert(request.user):
        return redirect("queue")
    return render(request, "no_role.html")


@expert_only
@require_GET
def queue(request: HttpRequest) -> HttpResponse:
    context = {"rows": desk.queue(request.user), "today": desk.verdicts_today(request.user), "reached": desk.reached(request.user)}
    return render(request, "annotation/queue.html", context)


@expert_only
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Claim the next text of a batch and open it."""
    try:
        batch = desk.batches_of(request.user).get(pk=int(request.POST.get("batch", "")))
    except (ValueError, OverflowError, Batch.DoesNotExist) as exc:
        raise Http404 from exc
    return _next(request, batch)


@signed_in_only
@require_http_methods(["GET", "HEAD", "POST"])
def review(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """One text and the form for the verdict on it; POST submits and goes on to the next.

    GET with `ahead` shows what was fetched ahead without opening it.
    """
    claim = _own_claim(request, token)
    if not desk.may_review(claim):
        if request.method == "POST":
            return _revoked(request, claim)
        raise Http404
    if request.method == "POST":
        form = VerdictForm(request.POST, domain=claim.item.batch.domain)
        if form.is_valid() and (answer := _submit(request, claim, form)):
            return answer
        return _desk(request, claim, form, status=422)
    if claim.outcome == Claim.Outcome.SUBMITTED:
        row = get_object_or_404(Feedback, item=claim.item, author=request.user, current=True)
        return redirect("verdict", row.pk)
    if claim.outcome in (Claim.Outcome.DECLINED, Claim.Outcome.RELEASED):
        messages.info(request, "You gave that text back. Your draft is kept, in case it comes to you again.")
        return redirect("queue")
    if "ahead" not in request.GET:
        try:
            claim = _take_up(claim)
        except ClaimLost as exc:
            messages.info(request, str(exc))
            return redirect("queue")
    elif claim.ended is not None:
        return HttpResponse(status=410)
    return _desk(request, claim, VerdictForm(initial=_words(claim) | {"key": str(uuid.uuid4())}, domain=claim.item.batch.domain))


def _take_up(claim: Claim) -> Claim:
    """Open what was fetched ahead. Whoever comes back after the lease ran out goes on as before, if nobody else has taken the text."""
    if claim.opened is None:
        return actions.open_claim(claim.token, user=claim.user)
    if claim.outcome == Claim.Outcome.EXPIRED:
        with suppress(AnnotationError):
            return actions.renew_claim(claim.token, user=claim.user)
    return claim


def _submit(request: HttpRequest, claim: Claim, form: VerdictForm) -> HttpResponse | None:
    """Where to go after a submit; None when the form has new errors to show."""
    data = form.cleaned_data
    try:
        feedback = actions.submit_feedback(
            claim.token,
            key=data["key"],
            critique=data["critique"],
            deliberation=data["deliberation"],
            score=data["score"],
            spans=data["spans"],
            user=request.user,
        )
    except InvalidVerdict as exc:
        _add_errors(form, exc)
        return None
    except AlreadyAnswered as exc:
        return _go(request, reverse("review", args=[claim.token]), str(exc))
    except ClaimLost as exc:
        form.add_error(None, str(exc))
        return None
    if feedback.counted:
        return _next(request, claim.item.batch)
    return _next(request, claim.item.batch, "Kept as an extra verdict: somebody else had judged that text after your lease ended.", "warning")


def _add_errors(form: Any, exc: InvalidVerdict) -> None:
    for field, message in exc.errors.items():
        form.add_error(field if field in form.fields else None, message)


def _next(request: HttpRequest, batch: Batch, words: str = "", level: str = "success") -> HttpResponse:
    """The next text of the batch, or the page that says that there is none."""
    claims = actions.claim_next(user=request.user, batch=batch)
    if not claims:
        return _go(request, reverse("batch-finished", args=[batch.pk]), words, level)
    if claims[0].item.batch_id != batch.pk and not words:
        words, level = "You had this text open already. Submit it or give it back, then go on with the other batch.", "info"
    return _go(request, reverse("review", args=[claims[0].token]), words, level, claims[0])


def _go(request: HttpRequest, url: str, words: str = "", level: str = "info", claim: Claim | None = None) -> HttpResponse:
    """Go to `url` and say `words` there: a redirect, or for the page's own script the same as JSON."""
    if request.headers.get("Accept") == "application/json":
        return JsonResponse({"next": url, "expires": claim.expires.isoformat() if claim else None, "message": words, "level": level})
    if words:
        getattr(messages, level)(request, words)
    return redirect(url)


def _desk(request: HttpRequest, claim: Claim, form: VerdictForm, decline_form: DeclineForm | None = None, status: int = 200) -> HttpResponse:
    rollout, batch = claim.item.rollout, claim.item.batch
    draft = _draft(claim)
    context = {
        "claim": claim,
        "domain": batch.domain,
        "row": desk.describe(request.user, [batch])[0],
        "prompt": rollout.prompt.text,
        "prompt_is_short": len(rollout.prompt.text) <= SHORT_PROMPT,
        "content": rollout.content,
        "finished": rollout.finished,
        "form": form,
        "decline_form": decline_form or DeclineForm(),
        "late": claim.ended is not None,
        "saved": draft.saved if draft else None,
        "version": draft.version if draft else 0,
        "history": desk.recent_scores(request.user, batch.domain),
        "noise": quality.noise(request.user, batch.domain),
    }
    return render(request, "annotation/review.html", context, status=status)


def _revoked(request: HttpRequest, claim: Claim) -> HttpResponse:
    """For whoever submits after leaving the panel: nothing is taken, and no word is lost."""
    if request.headers.get("Accept") == "application/json":
        return JsonResponse({"message": REVOKED}, status=403)
    words = {name: request.POST.get(name, "") for name in ("critique", "deliberation", "score")}
    return render(request, "annotation/revoked.html", {"words": words, "message": REVOKED}, status=403)


@signed_in_only
@require_POST
def save_draft(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """Keep what is typed. JSON: version, expires; 409 with the other text, 410 when the lease has ended, 403 for who left the panel."""
    claim = _own_claim(request, token)
    if not desk.may_review(claim):
        return JsonResponse({"message": REVOKED}, status=403)
    if not (typed := request.POST.get("version", "0")).isdecimal() or len(typed) > 9:
        return JsonResponse({"message": "The draft's version must be a whole number."}, status=400)
    try:
        spans = read_spans(request.POST.get("spans", ""))
    except ValueError as exc:
        return JsonResponse({"message": str(exc)}, status=400)
    words: dict[str, Any] = {name: request.POST.get(name, "") for name in ("critique", "deliberation", "score")}
    try:
        draft = actions.save_draft(token, user=request.user, version=int(typed), spans=spans, **words)
    except DraftConflict as exc:
        return JsonResponse({name: getattr(exc.current, name) for name in (*words, "spans", "version")}, status=409)
    except AnnotationError as exc:
        return JsonResponse({"message": str(exc)}, status=410)
    claim.refresh_from_db(fields=["expires"])
    return JsonResponse({"version": draft.version, "expires": claim.expires.isoformat()})


@signed_in_only
@require_POST
def renew(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """Keep the lease while somebody is reading. JSON: expires; 410 when it has ended, 403 for who left the panel."""
    if not desk.may_review(_own_claim(request, token)):
        return JsonResponse({"message": REVOKED}, status=403)
    try:
        claim = actions.renew_claim(token, user=request.user)
    except AnnotationError as exc:
        return JsonResponse({"message": str(exc)}, status=410)
    return JsonResponse({"expires": claim.expires.isoformat()})


@expert_only
@require_POST
def prefetch(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """Take the text that comes next under a short lease, unseen. JSON: url of its page, None where nothing waits."""
    _reviewable(request, token)
    ahead = actions.claim_ahead(token, user=request.user)
    return JsonResponse({"url": reverse("review", args=[ahead.token]) if ahead else None})


@expert_only
@require_GET
def counts(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """How far the batch is: a fragment that the open page puts in place of its own."""
    claim = _reviewable(request, token)
    return render(request, "annotation/_counts.html", {"row": desk.describe(request.user, [claim.item.batch])[0], "claim": claim})


@expert_only
@require_POST
def decline(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """Decline with a reason, and go on to the next."""
    claim = _reviewable(request, token)
    form = DeclineForm(request.POST)
    try:
        if form.is_valid():
            actions.decline(token, user=request.user, reason=form.cleaned_data["reason"], words=form.cleaned_data["words"])
    except InvalidVerdict as exc:
        _add_errors(form, exc)
    except AnnotationError as exc:
        return _go(request, reverse("queue"), str(exc), "warning")
    if form.errors:
        return _desk(
            request, claim, VerdictForm(initial=_words(claim) | {"key": str(uuid.uuid4())}, domain=claim.item.batch.domain), form, status=422
        )
    return _next(request, claim.item.batch, "Declined. A colleague gets that text.")


@expert_only
@require_POST
def release(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """Give the text back without a verdict; the draft stays."""
    _reviewable(request, token)
    try:
        actions.release(token, user=request.user)
        messages.success(request, "Given back. Your draft is kept for when you go on.")
    except AnnotationError as exc:
        messages.warning(request, str(exc))
    return redirect("queue")


@expert_only
@require_GET
def finished(request: HttpRequest, pk: int) -> HttpResponse:
    batch = get_object_or_404(desk.batches_of(request.user), pk=pk)
    return render(request, "annotation/finished.html", {"row": desk.describe(request.user, [batch])[0]})


@expert_only
@require_GET
def guidelines(request: HttpRequest, slug: str) -> HttpResponse:
    """The guidelines of a domain, for whoever has reviewed or may review in it."""
    domain = get_object_or_404(Domain.objects.filter(pk__in=desk.batches_of(request.user).values("domain")), slug=slug)
    return render(request, "annotation/guidelines.html", {"domain": domain})


def _own_claim(request: HttpRequest, token: uuid.UUID) -> Claim:
    claims = Claim.objects.select_related("user", "item__rollout__prompt", "item__batch__domain", "item__expert")
    return get_object_or_404(claims, token=token, user=request.user)


def _reviewable(request: HttpRequest, token: uuid.UUID) -> Claim:
    """The claim, if it is this person's and they are still on the panel."""
    claim = _own_claim(request, token)
    if not desk.may_review(claim):
        raise Http404
    return claim


def _draft(claim: Claim) -> Draft | None:
    return Draft.objects.filter(item=claim.item, user=claim.user).first()


def _words(claim: Claim) -> dict[str, Any]:
    return desk.words(draft) if (draft := _draft(claim)) else {}
