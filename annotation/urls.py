from django.urls import path

from annotation.views import account, batches, history, quality, review

urlpatterns = [
    path("", review.home, name="home"),
    path("account/", account.account, name="account"),
    path("review/", review.queue, name="queue"),
    path("review/start/", review.start, name="review-start"),
    path("review/finished/<int:pk>/", review.finished, name="batch-finished"),
    path("review/guidelines/<slug:slug>/", review.guidelines, name="guidelines"),
    path("review/verdicts/", history.verdicts, name="verdicts"),
    path("review/verdicts/<int:pk>/", history.verdict, name="verdict"),
    path("review/verdicts/<int:pk>/compare/", history.compare, name="verdict-compare"),
    path("review/verdicts/<int:pk>/revise/", history.revise, name="verdict-revise"),
    path("review/quality/", quality.own, name="quality"),
    path("review/<uuid:token>/", review.review, name="review"),
    path("review/<uuid:token>/draft/", review.save_draft, name="review-draft"),
    path("review/<uuid:token>/renew/", review.renew, name="review-renew"),
    path("review/<uuid:token>/prefetch/", review.prefetch, name="review-prefetch"),
    path("review/<uuid:token>/counts/", review.counts, name="review-counts"),
    path("review/<uuid:token>/decline/", review.decline, name="review-decline"),
    path("review/<uuid:token>/release/", review.release, name="review-release"),
    path("experts/quality/", quality.everybody, name="experts-quality"),
    path("batches/", batches.batches, name="batches"),
    path("batches/<int:pk>/", batches.batch, name="batch"),
    path("batches/<int:pk>/priority/", batches.priority, name="batch-priority"),
    path("batches/<int:pk>/close/", batches.close, name="batch-close"),
    path("batches/<int:pk>/release/", batches.release_abandoned, name="batch-release"),
    path("batches/<int:pk>/items/<int:item>/", batches.item, name="batch-item"),
    path("batches/<int:pk>/items/<int:item>/<slug:verb>/", batches.act, name="batch-item-act"),
]
