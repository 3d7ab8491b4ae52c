"""The admin's view of the queue. What `annotation.actions` writes can be looked at here and not changed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from rest_framework.authtoken.models import TokenProxy

from annotation.actions import save_domain, save_expert
from annotation.domain_forms import DomainProblems
from annotation.expert_forms import ExpertForm
from annotation.models import (
    AuditEntry,
    Batch,
    Budget,
    Charge,
    Claim,
    Domain,
    Draft,
    Expert,
    Feedback,
    Gold,
    Item,
    Price,
    Prompt,
    ProxyGrade,
    Rollout,
    Span,
)


class ReadOnly:
    """For admin classes and inlines: nothing can be added, changed or deleted."""

    def has_add_permission(self, *args: Any, **kwargs: Any) -> bool:
        return False

    def has_change_permission(self, *args: Any, **kwargs: Any) -> bool:
        return False

    def has_delete_permission(self, *args: Any, **kwargs: Any) -> bool:
        return False


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):
    show_full_result_count = False  # counting millions of rollouts takes longer than showing a page of them


# A token made there would not work: the database holds digests (annotation/tokens.py). People make theirs on the account page.
admin.site.unregister(TokenProxy)


class DomainAdminForm(DomainProblems):
    class Meta:
        model = Domain
        fields = "__all__"


@admin.register(Domain)
class DomainAdmin(admin.ModelAdmin):
    form = DomainAdminForm
    list_display = ["name", "slug", "score_min", "score_max", "score_required"]
    prepopulated_fields = {"slug": ["name"]}

    def save_model(self, request: HttpRequest, obj: Domain, form: forms.ModelForm, change: bool) -> None:
        save_domain(obj, actor=request.user)


@admin.register(Expert)
class ExpertAdmin(admin.ModelAdmin):
    form = ExpertForm
    list_display = ["name", "alias", "kind", "backend", "active"]
    list_filter = ["kind", "active"]
    filter_horizontal = ["members", "users"]

    def save_model(self, request: HttpRequest, obj: Expert, form: forms.ModelForm, change: bool) -> None:
        save_expert(obj, members=form.cleaned_data["members"], users=form.cleaned_data["users"], actor=request.user)

    def save_related(self, *args: Any) -> None:
        """Members and users are saved with the expert, so that the audit log has all of it."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # an expert who is asked no more is made inactive; the verdicts keep their author


@admin.register(Prompt)
class PromptAdmin(ReadOnlyAdmin):
    list_display = ["id", "domain", "split", "__str__"]
    list_filter = ["domain", "split"]
    search_fields = ["text", "digest"]


class ProxyGradeInline(ReadOnly, admin.TabularInline):
    model = ProxyGrade
    fields = ["proxy", "run", "sample", "score", "critique", "unscored_reason"]


@admin.register(Rollout)
class RolloutAdmin(ReadOnlyAdmin):
    list_display = ["id", "run", "step", "prompt", "index", "finished", "tokens"]
    list_select_related = ["prompt"]
    search_fields = ["run", "checkpoint"]
    inlines = [ProxyGradeInline]


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    list_display = ["title", "experiment", "purpose", "expert", "strategy", "priority", "created", "closed"]
    list_filter = ["purpose", "expert", "strategy"]
    search_fields = ["key", "title", "experiment"]


@admin.register(Item)
class ItemAdmin(ReadOnlyAdmin):
    list_display = ["id", "batch", "position", "slot", "control", "reviewer", "state", "rollout_id"]
    list_filter = ["state", "control"]
    list_select_related = ["batch", "reviewer"]


@admin.register(Claim)
class ClaimAdmin(ReadOnlyAdmin):
    list_display = ["id", "item_id", "user", "started", "opened", "expires", "ended", "outcome", "declined", "reason"]
    list_filter = ["outcome"]
    list_select_related = ["user"]


@admin.register(Draft)
class DraftAdmin(ReadOnlyAdmin):
    list_display = ["id", "item_id", "user", "version", "saved"]
    list_select_related = ["user"]


class SpanInline(ReadOnly, admin.TabularInline):
    model = Span


@admin.register(Feedback)
class FeedbackAdmin(ReadOnlyAdmin):
    list_display = ["id", "item_id", "expert", "author", "score", "revision", "current", "counted", "assisted", "submitted"]
    list_filter = ["expert", "current", "counted", "assisted"]
    list_select_related = ["expert", "author"]
    search_fields = ["critique", "key"]
    inlines = [SpanInline]


@admin.register(Gold)
class GoldAdmin(ReadOnlyAdmin):
    list_display = ["rollout_id", "score", "note", "created"]
    search_fields = ["note"]


@admin.register(Price)
class PriceAdmin(ReadOnlyAdmin):
    list_display = ["name", "since", "input", "output", "per_verdict", "per_minute"]
    search_fields = ["name"]


@admin.register(Budget)
class BudgetAdmin(ReadOnlyAdmin):
    list_display = ["scope", "unit", "limit", "spent", "hard", "created", "ended"]
    list_select_related = ["expert", "user"]


@admin.register(Charge)
class ChargeAdmin(ReadOnlyAdmin):
    list_display = ["id", "feedback_id", "expert", "user", "experiment", "purpose", "samples", "money", "tokens", "minutes", "price", "at"]
    list_filter = ["expert", "purpose"]
    list_select_related = ["expert", "user", "price"]


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ["at", "actor", "verb", "target"]
    list_filter = ["verb"]
    list_select_related = ["actor"]
    search_fields = ["target"]
