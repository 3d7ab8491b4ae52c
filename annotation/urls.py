from django.urls import path

from annotation import views

urlpatterns = [
    path("", views.home, name="home"),
    path("review/", views.queue, name="queue"),
    path("review/start/", views.start, name="review-start"),
    path("review/finished/<int:pk>/", views.finished, name="batch-finished"),
    path("review/guidelines/<slug:slug>/", views.guidelines, name="guidelines"),
    path("review/<uuid:token>/", views.review, name="review"),
    path("review/<uuid:token>/draft/", views.save_draft, name="review-draft"),
    path("review/<uuid:token>/renew/", views.renew, name="review-renew"),
    path("review/<uuid:token>/skip/", views.skip, name="review-skip"),
    path("review/<uuid:token>/release/", views.release, name="review-release"),
]
