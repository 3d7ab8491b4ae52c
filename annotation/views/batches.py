"""Batches for admins: what waits, who has it, and what can be done about it. Everything that changes a row goes through `annotation.actions`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import Count, F, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation import actions, outages, provider, querysets
from annotation.actions.batches import HIGHEST_PRIORITY
from annotation.errors import AnnotationError, InvalidVerdict
from annotation.models import AuditEntry, Batch, Claim, Expert, Feedback, Gold, Item
from annotation.views.guards import admin_only

PER_PAGE = 30
ITEMS_PER_PAGE = 50
REASON_LENGTH = 300
State = Item.State


@dataclass(frozen=True, slots=True)
class Row:
    """One batch with its counts, in items. Controls are no part of `total`, `done`, `waiting` and `held`."""

    batch: Batch
    total: int
    done: int
    waiting: int
    held: int
    abandoned: int  # in hand, but the lease has run out
    controls: int
    reviewers: int  # verdicts wanted of each text
    stranded: int


class Reasoned(forms.Form):
    """Why: kept in the audit log."""

    reason = forms.CharField(max_length=REASON_LENGTH, label="Why?", error_messages={"required": "Say why; it is kept in the log."})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""


class ReleaseForm(Reasoned):
    """Takes back exactly the claim that the page spoke of: by now the item may be in other hands."""

    token = forms.UUIDField(widget=forms.HiddenInput)


class ReassignForm(Reasoned):
    """To one of the panel, or to whoever comes."""

    person = forms.ModelChoiceField(get_user_model().objects.none(), required=False, label="Who gets it", empty_label="Whoever comes")

    field_order = ["person", "reason"]

    def __init__(self, *args: Any, expert: Expert, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["person"].queryset = expert.members.filter(is_active=True).order_by("username")  # type: ignore[attr-defined]


class GoldForm(forms.Form):
    """The score that a rollout is known to deserve."""

    score = forms.CharField(max_length=20, label="Known score", widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}))
    note = forms.CharField(max_length=300, required=False, label="Where it comes from", help_text="Such as: three editors agreed.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""

    def clean_score(self) -> str:
        return str(self.cleaned_data["score"]).strip().replace(",", ".")


@admin_only
@require_GET
def batches(request: HttpRequest) -> HttpResponse:
    """All batches, the open ones first and in the order of the queue."""
    ordered = Batch.objects.select_related("domain", "expert").order_by(F("closed").desc(nulls_first=True), "-priority", "pk")
    page = Paginator(ordered, PER_PAGE).get_page(request.GET.get("page"))
    rows = describe(list(page))
    parts = [("Open", [row for row in rows if row.batch.closed is None]), ("Closed", [row for row in rows if row.batch.closed is not None])]
    return render(request, "annotation/batches.html", {"page": page, "parts": parts})


@admin_only
@require_GET
def batch(request: HttpRequest, pk: int) -> HttpResponse:
    """One batch and its items."""
    found = _batch(pk)
    states = {"waiting": Q(state=State.READY), "held": Q(state=State.CLAIMED), "done": Q(state=State.DONE), "controls": ~Q(control="")}
    states |= {"cancelled": Q(state=State.CANCELLED), "stranded": Q(pk__in=querysets.stranded(found).order_by().values("pk"))}
    only = request.GET.get("only", "")
    items = found.items.filter(states.get(only, Q())).select_related("rollout", "reviewer").order_by("position", "pk")
    page = Paginator(items, ITEMS_PER_PAGE).get_page(request.GET.get("page"))
    context = {"batch": found, "row": describe([found])[0], "page": page, "items": with_people(list(page)), "only": only if only in states else ""}
    notices = [words for words in (outages.words(found), provider.words(found)) if words]
    return render(request, "annotation/batch.html", context | {"filters": FILTERS, "highest": HIGHEST_PRIORITY, "notices": notices})


FILTERS = [
    ("", "all"),
    ("waiting", "waiting"),
    ("held", "in hand"),
    ("stranded", "stranded"),
    ("done", "done"),
    ("cancelled", "cancelled"),
    ("controls", "controls"),
]


@admin_only
@require_POST
def priority(request: HttpRequest, pk: int) -> HttpResponse:
    """Move the batch up or down the queue."""
    found = _batch(pk)
    try:
        actions.set_priority(found, int(request.POST.get("priority", "")), actor=request.user)
        messages.success(request, "The queue is in its new order.")
    except ValueError:
        messages.error(request, "A priority is a whole number.")
    except AnnotationError as exc:
        messages.error(request, str(exc))
    return redirect("batch", pk)


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def close(request: HttpRequest, pk: int) -> HttpResponse:
    """Asks before it closes: what is in hand then is an extra verdict at most."""
    found = _batch(pk)
    form = Reasoned(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        actions.close_batch(found, actor=request.user, reason=form.cleaned_data["reason"])
        messages.success(request, "Closed. Nobody is asked about it any more.")
        return redirect("batch", pk)
    context = {"batch": found, "row": describe([found])[0], "form": form}
    return render(request, "annotation/batch_close.html", context, status=422 if form.errors else 200)


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def release_abandoned(request: HttpRequest, pk: int) -> HttpResponse:
    """Give back all items of the batch whose lease has run out."""
    found = _batch(pk)
    claims = querysets.stale(timezone.now()).filter(item__batch=found)
    form = Reasoned(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        tokens = list(claims.values_list("token", flat=True))
        count = actions.release_many(tokens, actor=request.user, reason=form.cleaned_data["reason"])
        words = f"{count} item{' is' if count == 1 else 's are'} ready again." if count else "Nothing was abandoned any more."
        messages.success(request, words)
        return redirect("batch", pk)
    context = {"batch": found, "claims": claims.select_related("user", "item__expert"), "form": form}
    return render(request, "annotation/batch_release.html", context, status=422 if form.errors else 200)


@admin_only
@require_GET
def item(request: HttpRequest, pk: int, item: int) -> HttpResponse:
    """One item: its text, who has it, who judged or declined it, and what can be done."""
    found = _item(pk, item)
    return render(request, "annotation/batch_item.html", _story(request, found))


@admin_only
@require_http_methods(["GET", "HEAD", "POST"])
def act(request: HttpRequest, pk: int, item: int, verb: str) -> HttpResponse:
    """Says what will happen to an item and to whom, and does it on POST."""
    found = _item(pk, item)
    if verb not in VERBS:
        raise Http404
    story = _story(request, found)
    if not story["can"][verb]:
        messages.error(request, "That cannot be done: the item is in another state by now.")
        return redirect("batch-item", pk, item)
    form = _form(request, found, verb)
    if request.method == "POST" and form.is_valid():
        try:
            messages.success(request, _do(request, found, verb, form.cleaned_data))
        except InvalidVerdict as exc:
            for field, message in exc.errors.items():
                form.add_error(field if field in form.fields else None, message)
        except AnnotationError as exc:
            messages.error(request, str(exc))
        if not form.errors:
            return redirect("batch-item", pk, item)
    title, button = VERBS[verb]
    context = story | {"form": form, "verb": verb, "title": title, "button": button}
    return render(request, "annotation/batch_act.html", context, status=422 if form.errors else 200)


VERBS = {
    "release": ("Take this item back?", "Take it back"),
    "reassign": ("Who gets this item?", "Assign it"),
    "reopen": ("Ask for this verdict again?", "Ask again"),
    "gold": ("Is the score of this text known?", "Make it gold"),
    "not-gold": ("Use this text no longer as gold?", "Use it no longer"),
}


def _form(request: HttpRequest, found: Item, verb: str) -> forms.Form:
    sent = request.POST if request.method == "POST" else None
    if verb == "release":
        claim = _in_hand(found)
        return ReleaseForm(sent, initial={"token": claim.token if claim else None})
    if verb == "reassign":
        return ReassignForm(sent, expert=found.expert, initial={"person": found.reviewer_id})
    if verb == "gold":
        gold = Gold.objects.filter(rollout=found.rollout_id).first()
        return GoldForm(sent, initial={"score": f"{gold.score:g}", "note": gold.note} if gold else None)
    return forms.Form(sent) if verb == "not-gold" else Reasoned(sent)


def _do(request: HttpRequest, found: Item, verb: str, data: dict[str, Any]) -> str:
    """Carry it out; what to say then. Raises `AnnotationError`."""
    who: dict[str, Any] = {"actor": request.user}
    if verb == "release":
        done = actions.release_many([data["token"]], reason=data["reason"], **who)
        return "Taken back. It is ready for whoever comes." if done else "It was given back or submitted meanwhile: nothing was done."
    if verb == "reassign":
        actions.reassign(found, data["person"], reason=data["reason"], **who)
        return f"From now on it goes to {data['person'].get_username()}." if data["person"] else "From now on it goes to whoever comes."
    if verb == "reopen":
        actions.reopen(found, reason=data["reason"], **who)
        return "A verdict is asked for again. The earlier one is kept."
    if verb == "gold":
        gold = actions.set_gold(found.rollout, data["score"], note=data["note"], **who)
        return f"Gold: its score is known to be {gold.score:g}."
    actions.remove_gold(found.rollout, **who)
    return "It is gold no longer."


def describe(found: Sequence[Batch]) -> list[Row]:
    """A row for each batch. One query for the counts, one for what is abandoned, and one for each open batch of people with items that wait."""
    live = Q(control="") & ~Q(state=State.CANCELLED)
    counts = Item.objects.filter(batch__in=found).order_by().values("batch")
    counts = counts.annotate(
        total=Count("pk", filter=live),
        done=Count("pk", filter=live & Q(state=State.DONE)),
        waiting=Count("pk", filter=live & Q(state=State.READY)),
        held=Count("pk", filter=live & Q(state=State.CLAIMED)),
        controls=Count("pk", filter=~Q(control="")),
        reviewers=Count("slot", distinct=True, filter=Q(control="")),
    )
    by_batch = {row["batch"]: dict(row) for row in counts}
    stale = querysets.stale(timezone.now()).filter(item__batch__in=found).order_by().values_list("item__batch")
    abandoned = dict(stale.annotate(n=Count("pk")))
    rows = []
    for one in found:
        row: dict[str, Any] = by_batch.get(one.pk, {})
        waits = one.closed is None and row.get("waiting", 0) and one.expert.kind in (Expert.Kind.HUMAN, Expert.Kind.MIXED)
        stranded = querysets.stranded(one).count() if waits else 0
        numbers = {name: row.get(name, 0) for name in ("total", "done", "waiting", "held", "controls", "reviewers")}
        rows.append(Row(one, **numbers, abandoned=abandoned.get(one.pk, 0), stranded=stranded))
    return rows


def with_people(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Each item with who has it in hand, who judged it, who declined it, and whether its text is gold. A fixed number of queries."""
    claims: dict[int, list[Claim]] = defaultdict(list)
    told = Q(ended=None) | Q(outcome=Claim.Outcome.DECLINED)
    for claim in Claim.objects.filter(told, item__in=items).select_related("user"):
        claims[claim.item_id].append(claim)
    judged: dict[int, list[Feedback]] = defaultdict(list)
    for row in Feedback.objects.filter(item__in=items, current=True).select_related("author", "expert").order_by("pk"):
        judged[row.item_id].append(row)
    gold = set(Gold.objects.filter(rollout__in=[item.rollout_id for item in items]).values_list("rollout", flat=True))
    now = timezone.now()
    return [
        {
            "item": one,
            "held": next((claim for claim in claims[one.pk] if claim.ended is None), None),
            "late": any(claim.ended is None and claim.expires < now for claim in claims[one.pk]),
            "declined": [claim for claim in claims[one.pk] if claim.ended is not None],
            "judged": judged[one.pk],
            "gold": one.rollout_id in gold,
        }
        for one in items
    ]


def _story(request: HttpRequest, found: Item) -> dict[str, Any]:
    """All about one item. Who is to judge the text still does not see what others said of it."""
    batch, user = found.batch, cast("User", request.user)
    verdicts = list(Feedback.objects.filter(item=found).select_related("author", "expert").order_by("pk"))
    to_judge = batch.closed is None and found.expert.members.filter(pk=user.pk).exists()
    blind = to_judge and not Feedback.objects.filter(item__rollout=found.rollout_id, author=user).exists()
    people = found.expert.kind == Expert.Kind.HUMAN
    asked = found.control == "" and batch.purpose != Batch.Purpose.REWARD
    held = _in_hand(found)
    gold = Gold.objects.filter(rollout=found.rollout_id).first()
    return {
        "batch": batch,
        "item": found,
        "held": held,
        "late": held is not None and held.expires < timezone.now(),
        "verdicts": verdicts,
        "blind": blind,
        "declined": found.claims.filter(outcome=Claim.Outcome.DECLINED).select_related("user"),
        "gold": gold,
        "log": AuditEntry.objects.filter(target=f"item:{found.pk}").select_related("actor")[:20],
        "can": {  # the verbs
            "release": held is not None,
            "reassign": people and found.state in querysets.OPEN and batch.closed is None,
            "reopen": asked and found.state not in querysets.OPEN,
            "gold": True,
            "not-gold": gold is not None,
        },
    }


def _in_hand(found: Item) -> Claim | None:
    return found.claims.filter(ended=None).select_related("user").first()


def _batch(pk: int) -> Batch:
    return get_object_or_404(Batch.objects.select_related("domain", "expert"), pk=pk)


def _item(pk: int, item: int) -> Item:
    related: QuerySet[Item] = Item.objects.select_related("batch__domain", "batch__expert", "expert", "rollout__prompt__domain", "reviewer")
    return get_object_or_404(related, pk=item, batch=pk)
