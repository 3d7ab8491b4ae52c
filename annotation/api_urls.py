"""Addresses of the API, below /api/v1/."""

from django.urls import path

from annotation import api

urlpatterns = [
    path("queue/", api.QueueView.as_view(), name="api-queue"),
    path("claims/", api.ClaimsView.as_view(), name="api-claims"),
    path("claims/<uuid:token>/", api.ClaimView.as_view(), name="api-claim"),
    path("claims/<uuid:token>/draft/", api.DraftView.as_view(), name="api-draft"),
    path("claims/<uuid:token>/renew/", api.RenewView.as_view(), name="api-renew"),
    path("claims/<uuid:token>/submit/", api.SubmitView.as_view(), name="api-submit"),
    path("claims/<uuid:token>/decline/", api.DeclineView.as_view(), name="api-decline"),
    path("claims/<uuid:token>/release/", api.ReleaseView.as_view(), name="api-release"),
    path("verdicts/", api.VerdictsView.as_view(), name="api-verdicts"),
    path("verdicts/<int:pk>/revise/", api.ReviseView.as_view(), name="api-revise"),
    path("<path:rest>", api.NowhereView.as_view(), name="api-nowhere"),
]
