"""The web process: pages by Django, live updates by Channels. `uvicorn config.asgi:application`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from a2wsgi import WSGIMiddleware
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from config import embedded

THREADS = 8  # of each process: more than one core can use, and each holds a database connection

settings.ENVIRONMENT.require()
if settings.REDIS_IS_EMBEDDED or settings.DATABASE_IS_EMBEDDED:
    embedded.start(settings.HOME)
# Pages are synchronous. Django's own ASGI handler would give each request a thread and a database connection of its own, and go back and forth
# to the event loop at every middleware; a few threads that keep their connections answer twice as many (bench/review_load.py).
pages = WSGIMiddleware(get_wsgi_application(), workers=THREADS)

from config.routing import websocket_urlpatterns  # needs the apps that the line above has loaded

application = ProtocolTypeRouter({"http": pages, "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))})
