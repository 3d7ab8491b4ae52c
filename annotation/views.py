"""The reviewer's pages. Everything that changes a row goes through `annotation.actions`."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation import actions, desk, roles
from annotation.errors import AlreadyAnswered, AnnotationError, ClaimLost, DraftConflict, InvalidVerdict
from annotation.forms import SkipForm, VerdictForm
from annotation.models import Batch, Claim, Domain, Draft, Feedback

SHORT_PROMPT = 320  # characters that are shown unfolded


def expert_only(view: Any) -> Any:
    """Sign-in for the anonymous, 404 for whoever reviews nothing here."""

    @login_required
    @never_cache
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not roles.is_expert(request.user):
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


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
    return render(request, "annotation/queue.html", {"rows": desk.queue(request.user), "today": desk.verdicts_today(request.user)})


@expert_only
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Claim the next text of a batch and open it."""
    try:
        batch = desk.batches_of(request.user).get(pk=int(request.POST.get("batch", "")))
    except (ValueError, OverflowError, Batch.DoesNotExist) as exc:
        raise Http404 from exc
    return _next(request, batch)


@expert_only
@require_http_methods(["GET", "HEAD", "POST"])
def review(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """One text and the form for the verdict on it; POST submits and goes on to the next."""
    claim = _own_claim(request, token)
    if claim.outcome == Claim.Outcome.SUBMITTED and request.method != "POST":
        return _submitted(request, claim)
    if claim.outcome in (Claim.Outcome.SKIPPED, Claim.Outcome.RELEASED):
        messages.info(request, "You gave that text back. Your draft is kept, in case it comes to you again.")
        return redirect("queue")
    domain = claim.item.batch.domain
    if request.method == "POST":
        form = VerdictForm(request.POST, domain=domain)
        if form.is_valid() and (answer := _submit(request, claim, form)):
            return answer
        return _desk(request, claim, form, status=422)
    _take_up_again(claim)
    return _desk(request, claim, VerdictForm(initial=_words(claim) | {"key": str(uuid.uuid4())}, domain=domain))


def _take_up_again(claim: Claim) -> None:
    """Whoever comes back after the lease ran out goes on as before, if nobody else has taken the text."""
    if claim.outcome == Claim.Outcome.EXPIRED:
        with suppress(AnnotationError):
            actions.renew_claim(claim.token, user=claim.user)
            claim.refresh_from_db(fields=["ended", "outcome", "expires"])


def _submit(request: HttpRequest, claim: Claim, form: VerdictForm) -> HttpResponse | None:
    """Where to go after a submit; None when the form has new errors to show."""
    data = form.cleaned_data
    try:
        feedback = actions.submit_feedback(
            claim.token, key=data["key"], critique=data["critique"], deliberation=data["deliberation"], score=data["score"], user=request.user
        )
    except InvalidVerdict as exc:
        for field, message in exc.errors.items():
            form.add_error(field if field in form.fields else None, message)
        return None
    except AlreadyAnswered as exc:
        messages.info(request, str(exc))
        return redirect("review", claim.token)
    except ClaimLost as exc:
        form.add_error(None, str(exc))
        return None
    if not feedback.counted:
        messages.warning(request, "Kept as an extra verdict: somebody else had judged that text after your lease ended.")
    return _next(request, claim.item.batch)


def _next(request: HttpRequest, batch: Batch) -> HttpResponse:
    """The next text of the batch, or the page that says that there is none."""
    claims = actions.claim_next(user=request.user, batch=batch)
    if not claims:
        return redirect("batch-finished", batch.pk)
    if claims[0].item.batch_id != batch.pk:
        messages.info(request, "You had this text open already. Submit it or give it back, then go on with the other batch.")
    return redirect("review", claims[0].token)


def _desk(request: HttpRequest, claim: Claim, form: VerdictForm, skip_form: SkipForm | None = None, status: int = 200) -> HttpResponse:
    rollout, batch = claim.item.rollout, claim.item.batch
    draft = Draft.objects.filter(item=claim.item, user=claim.user).first()
    context = {
        "claim": claim,
        "domain": batch.domain,
        "row": desk.describe(request.user, [batch])[0],
        "prompt": rollout.prompt.text,
        "prompt_is_short": len(rollout.prompt.text) <= SHORT_PROMPT,
        "content": rollout.content,
        "finished": rollout.finished,
        "form": form,
        "skip_form": skip_form or SkipForm(),
        "late": claim.ended is not None,
        "saved": draft.saved if draft else None,
        "version": draft.version if draft else 0,
    }
    return render(request, "annotation/review.html", context, status=status)


def _submitted(request: HttpRequest, claim: Claim) -> HttpResponse:
    feedback = get_object_or_404(Feedback, claim=claim, author=request.user, current=True)
    rollout, batch = claim.item.rollout, claim.item.batch
    context = {"feedback": feedback, "domain": batch.domain, "row": desk.describe(request.user, [batch])[0]}
    return render(request, "annotation/submitted.html", context | {"prompt": rollout.prompt.text, "content": rollout.content})


@expert_only
@require_POST
def save_draft(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """Keep what is typed. JSON: version, expires; 409 with the other text, 410 when the lease has ended."""
    claim = _own_claim(request, token)
    if not (typed := request.POST.get("version", "0")).isdecimal() or len(typed) > 9:
        return JsonResponse({"message": "The draft's version must be a whole number."}, status=400)
    try:
        draft = actions.save_draft(token, user=request.user, version=int(typed), **_typed(request))
    except DraftConflict as exc:
        other = exc.current
        return JsonResponse(
            {"critique": other.critique, "deliberation": other.deliberation, "score": other.score, "version": other.version}, status=409
        )
    except AnnotationError as exc:
        return JsonResponse({"message": str(exc)}, status=410)
    claim.refresh_from_db()
    return JsonResponse({"version": draft.version, "expires": claim.expires.isoformat()})


@expert_only
@require_POST
def renew(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """Keep the lease while somebody is reading. JSON: expires; 410 when it has ended."""
    _own_claim(request, token)
    try:
        claim = actions.renew_claim(token, user=request.user)
    except AnnotationError as exc:
        return JsonResponse({"message": str(exc)}, status=410)
    return JsonResponse({"expires": claim.expires.isoformat()})


@expert_only
@require_POST
def skip(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """Decline with a reason, and go on to the next."""
    claim = _own_claim(request, token)
    form = SkipForm(request.POST)
    if not form.is_valid():
        verdict = VerdictForm(initial=_words(claim) | {"key": str(uuid.uuid4())}, domain=claim.item.batch.domain)
        return _desk(request, claim, verdict, form, status=422)
    try:
        actions.skip(token, user=request.user, reason=form.said)
    except AnnotationError as exc:
        messages.warning(request, str(exc))
        return redirect("queue")
    messages.success(request, "Declined. A colleague gets that text.")
    return _next(request, claim.item.batch)


@expert_only
@require_POST
def release(request: HttpRequest, token: uuid.UUID) -> HttpResponse:
    """Give the text back without a verdict; the draft stays."""
    _own_claim(request, token)
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
    """The claim, if it is this person's and they are still on the panel; 404 otherwise, so that nobody learns what exists."""
    claims = Claim.objects.select_related("item__rollout__prompt", "item__batch__domain", "item__batch__expert")
    return get_object_or_404(claims, token=token, user=request.user, item__batch__in=desk.batches_of(request.user))


def _typed(request: HttpRequest) -> Any:
    return {name: request.POST.get(name, "") for name in ("critique", "deliberation", "score")}


def _words(claim: Claim) -> dict[str, Any]:
    draft = Draft.objects.filter(item=claim.item, user=claim.user).first()
    return {"critique": draft.critique, "deliberation": draft.deliberation, "score": draft.score} if draft else {}
