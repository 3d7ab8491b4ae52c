"""The sockets that tell open pages to look again."""

from django.urls import URLPattern, path

from annotation.consumers import QueueConsumer
from training.consumers import ExperimentConsumer

websocket_urlpatterns: list[URLPattern] = [
    path("ws/queue/", QueueConsumer.as_asgi()),
    path("ws/experiments/<slug:slug>/", ExperimentConsumer.as_asgi()),
]
