from django.urls import path

from annotation.views import history, review

urlpatterns = [
    path("", review.home, name="home"),
    path("review/", review.queue, name="queue"),
    path("review/start/", review.start, name="review-start"),
    path("review/finished/<int:pk>/", review.finished, name="batch-finished"),
    path("review/guidelines/<slug:slug>/", review.guidelines, name="guidelines"),
    path("review/verdicts/", history.verdicts, name="verdicts"),
    path("review/verdicts/<int:pk>/", history.verdict, name="verdict"),
    path("review/verdicts/<int:pk>/compare/", history.compare, name="verdict-compare"),
    path("review/verdicts/<int:pk>/revise/", history.revise, name="verdict-revise"),
    path("review/<uuid:token>/", review.review, name="review"),
    path("review/<uuid:token>/draft/", review.save_draft, name="review-draft"),
    path("review/<uuid:token>/renew/", review.renew, name="review-renew"),
    path("review/<uuid:token>/prefetch/", review.prefetch, name="review-prefetch"),
    path("review/<uuid:token>/counts/", review.counts, name="review-counts"),
    path("review/<uuid:token>/decline/", review.decline, name="review-decline"),
    path("review/<uuid:token>/release/", review.release, name="review-release"),
]
