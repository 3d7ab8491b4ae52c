from django.urls import path

from training import views

urlpatterns = [
    path("experiments/", views.experiments, name="experiments"),
    path("experiments/new/", views.new, name="experiment-new"),
    path("experiments/new/estimate/", views.estimate, name="experiment-estimate"),
    path("experiments/<slug:slug>/", views.experiment, name="experiment"),
    path("experiments/<slug:slug>/chart/", views.chart, name="experiment-chart"),
    path("experiments/<slug:slug>/start/", views.act, {"verb": "start"}, name="experiment-start"),
    path("experiments/<slug:slug>/pause/", views.act, {"verb": "pause"}, name="experiment-pause"),
    path("experiments/<slug:slug>/resume/", views.act, {"verb": "resume"}, name="experiment-resume"),
    path("experiments/<slug:slug>/stop/", views.stop, name="experiment-stop"),
    path("experiments/<slug:slug>/change/", views.change, name="experiment-change"),
    path("experiments/<slug:slug>/rollouts/", views.rollouts, name="experiment-rollouts"),
    path("experiments/<slug:slug>/rollouts/<int:pk>/", views.rollout, name="rollout"),
    path("experiments/<slug:slug>/proxies/<int:number>/", views.proxy, name="proxy"),
]
