"""Who am I (SelfSubjectReview), and who is the bearer of this token (TokenReview)."""

from __future__ import annotations

from argosy.host import Host, rfc3339
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.auth.authentication import Authentication
from control_plane.apiserver.auth.tokens import TokenError, Tokens
from control_plane.apiserver.request import Request, User


def user_info(user: User) -> JsonObject:
    info: JsonObject = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


class Identity:
    def __init__(self, host: Host, authentication: Authentication, tokens: Tokens | None) -> None:
        self._host = host
        self._authentication = authentication
        self._tokens = tokens

    async def myself(self, request: Request, review: JsonObject) -> JsonObject:
        metadata = {"creationTimestamp": rfc3339(self._host.clock.now())}
        return {**review, "metadata": metadata, "status": {"userInfo": user_info(request.user)}}

    async def token(self, request: Request, review: JsonObject) -> JsonObject:
        """Raises ApiError 400 without a token."""
        spec = review.get("spec") or {}
        token, audiences = spec.get("token", ""), list(spec.get("audiences") or ())
        if not token:
            raise errors.bad_request("token is required for TokenReview in authentication")
        status: JsonObject
        try:
            if self._tokens is not None and token.count(".") == 2:
                user, common = self._tokens.verify(token, audiences)
            else:
                user, common = self._authentication.token_user(token), audiences
            status = {"authenticated": True, "user": user_info(user), "audiences": common}
        except TokenError as error:
            status = {"authenticated": False, "user": {}, "error": f"invalid bearer token: {error}"}
        except errors.ApiError:
            status = {"authenticated": False, "user": {}, "error": "invalid bearer token"}
        return {**review, "status": status}
