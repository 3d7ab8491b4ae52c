"""Tokens for the API: one a person, made and revoked on the account page.

The database holds a digest of the secret, so nobody can read a token back out of it; the table is that of `rest_framework.authtoken`.
"""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from rest_framework.authentication import TokenAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import AuthenticationFailed

from annotation.actions import audit
from annotation.models import digest_of

# Asked with every request, so without the ORM: building the query costs more than running it.
OWNER = """
SELECT person.* FROM authtoken_token token JOIN auth_user person ON person.id = token.user_id WHERE token.key = %s AND person.is_active
"""


class BearerAuthentication(TokenAuthentication):
    """`Authorization: Bearer SECRET`."""

    keyword = "Bearer"

    def authenticate_credentials(self, key: str) -> tuple[Any, Any]:
        """The person and their token's digest. Raises `AuthenticationFailed`; whether a person is inactive or not there is not said."""
        digest = _stored(key)
        for user in User.objects.raw(OWNER, [digest]):
            return user, digest
        raise AuthenticationFailed("This token is not valid.")


def _stored(secret: str) -> str:
    return digest_of(secret)[:40]  # what fits the column: 160 bits


def make_token(user: Any) -> str:
    """A new token for `user`, in place of the one they may have: the secret, which is kept nowhere."""
    secret = secrets.token_urlsafe(32)
    with transaction.atomic():
        Token.objects.filter(user=user).delete()
        Token.objects.create(user=user, key=_stored(secret))
        audit.record(user, "made a token", user)
    return secret


def revoke_token(user: Any) -> bool:
    """From now on the user's token opens nothing. Whether there was one."""
    with transaction.atomic():
        there, _ = Token.objects.filter(user=user).delete()
        if there:
            audit.record(user, "revoked a token", user)
    return bool(there)
