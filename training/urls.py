from django.urls import path

from training import views
from training.suite import views as suites

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
    path("experiments/<slug:slug>/candidates/<slug:key>/", views.candidates, name="candidates"),
    path("experiments/<slug:slug>/prompt/", views.prompt, name="experiment-prompt"),
    path("suites/", suites.suites, name="suites"),
    path("suites/new/", suites.new, name="suite-new"),
    path("suites/new/estimate/", suites.estimate, name="suite-estimate"),
    path("suites/<slug:slug>/", suites.suite, name="suite"),
    path("suites/<slug:slug>/results/", suites.results, name="suite-results"),
    path("suites/<slug:slug>/start/", suites.act, {"verb": "start"}, name="suite-start"),
    path("suites/<slug:slug>/stop/", suites.act, {"verb": "stop"}, name="suite-stop"),
    path("suites/<slug:slug>/report.<slug:kind>", suites.download, name="suite-report"),
    path("suites/<slug:slug>/figures/<slug:figure>.<slug:kind>", suites.figure, name="suite-figure"),
]
