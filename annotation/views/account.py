"""Who one is here, and the token for the API."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods
from rest_framework.authtoken.models import Token

from annotation import roles, tokens
from annotation.models import Expert
from annotation.views.guards import signed_in_only


@signed_in_only
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Username, roles and panels. POST makes the token, which this one answer shows, or revokes it once that is confirmed."""
    secret, asked = "", False
    token = Token.objects.filter(user=request.user.pk).first()
    if request.method == "POST":
        act = request.POST.get("do", "")
        if act == "make" and token is not None:
            messages.warning(request, "You have a token already. Revoke it first: whatever uses it then needs the new one.")
        elif act == "make":
            secret = tokens.make_token(request.user)
            token = Token.objects.get(user=request.user.pk)
        elif act == "revoke" and "sure" in request.POST:
            if tokens.revoke_token(request.user):
                messages.success(request, "Revoked. Nothing can use that token any more.")
            return redirect("account")
        elif act == "revoke":
            asked = token is not None
    context = {
        "roles": _roles(request),
        "panels": Expert.objects.filter(members=request.user.pk, kind=Expert.Kind.HUMAN, active=True),
        "token": token,
        "secret": secret,
        "asked": asked,
    }
    return render(request, "annotation/account.html", context)


def _roles(request: HttpRequest) -> list[str]:
    if roles.is_admin(request.user):
        return ["admin: everything that researchers and experts may do, and the admin pages"]
    found = {"researcher: runs experiments": roles.is_researcher, "expert: reviews": roles.is_expert}
    return [words for words, has in found.items() if has(request.user)]
