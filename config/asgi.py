"""The web process: pages by Django, live updates by Channels. `uvicorn config.asgi:application`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.core.asgi import get_asgi_application

from config import embedded

settings.ENVIRONMENT.require()
if settings.REDIS_IS_EMBEDDED or settings.DATABASE_IS_EMBEDDED:
    embedded.start(settings.HOME)
pages = get_asgi_application()

from config.routing import websocket_urlpatterns  # needs the apps that the line above has loaded

application = ProtocolTypeRouter({"http": pages, "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))})
