"""Who gets to see a page. What is not theirs is not there for them: 404, so that nobody learns what exists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache

from annotation import roles


def _only(allowed: Callable[[Any], bool]) -> Callable[[Any], Any]:
    def decorate(view: Any) -> Any:
        @login_required
        @never_cache
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not allowed(request.user):
                raise Http404
            return view(request, *args, **kwargs)

        return guarded

    return decorate


signed_in_only = _only(lambda user: True)
expert_only = _only(roles.is_expert)
researcher_only = _only(roles.is_researcher)
admin_only = _only(roles.is_admin)
