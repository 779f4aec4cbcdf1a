"""From what a connection showed to a user: client certificate, bearer token, or nobody; then impersonation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from argosy.objects import status as errors
from control_plane.apiserver.auth.attributes import Action
from control_plane.apiserver.auth.authorization import Authorization
from control_plane.apiserver.auth.bootstrap_tokens import BootstrapTokens
from control_plane.apiserver.auth.tokens import SUBJECT_PREFIX, TokenError, Tokens, service_account_user
from control_plane.apiserver.auth.x509 import AUTHENTICATED
from control_plane.apiserver.request import ANONYMOUS, User

UNAUTHENTICATED: Final = "system:unauthenticated"
_EXTRA: Final = "impersonate-extra-"


class Authentication:
    def __init__(
        self, tokens: Tokens | None, bootstrap: BootstrapTokens | None, authorization: Authorization
    ) -> None:
        self._tokens = tokens
        self._bootstrap = bootstrap
        self._authorization = authorization

    def user(self, certificate: User | None, authorization: str) -> User:
        """The user of a request; anonymous when it shows nothing. Raises ApiError 401 for a bad token."""
        if certificate is not None:
            return certificate
        scheme, _, token = authorization.partition(" ")
        if not authorization or scheme.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        return self.token_user(token.strip())

    def token_user(self, token: str) -> User:
        """Raises ApiError 401."""
        if self._bootstrap is not None:
            user = self._bootstrap.user(token)
            if user is not None:
                return user
        if self._tokens is not None:
            try:
                return self._tokens.verify(token)[0]
            except TokenError:
                pass
        raise errors.unauthorized()

    def impersonated(self, user: User, headers: Mapping[str, Sequence[str]]) -> User:
        """The user that `Impersonate-*` headers (lower-case keys) name. Raises ApiError 400, 403."""
        name = next(iter(headers.get("impersonate-user", ())), "")
        uid = next(iter(headers.get("impersonate-uid", ())), "")
        groups = headers.get("impersonate-group", ())
        extra_keys = [key for key in headers if key.startswith(_EXTRA)]
        if not name:
            if groups or uid or extra_keys:
                raise errors.bad_request("requested impersonation without impersonating a user")
            return user
        target = self._target(user, name)
        for group in groups:
            self._may(user, "", "groups", "", group)
        extra: dict[str, tuple[str, ...]] = {}
        for key in extra_keys:
            field = unquote(key[len(_EXTRA) :]).lower()
            for value in headers[key]:
                self._may(user, "authentication.k8s.io", "userextras", field, value)
            extra[field] = (*extra.get(field, ()), *headers[key])
        if uid:
            self._may(user, "authentication.k8s.io", "uids", "", uid)
        given = tuple(groups) or target.groups
        if name == ANONYMOUS.name:
            given = (*groups, UNAUTHENTICATED)
        elif AUTHENTICATED not in given:
            given = (*given, AUTHENTICATED)
        return User(name, given, uid, extra)

    def _target(self, user: User, name: str) -> User:
        if name.startswith(SUBJECT_PREFIX):
            namespace, _, account = name[len(SUBJECT_PREFIX) :].partition(":")
            self._may(user, "", "serviceaccounts", "", account, namespace)
            return service_account_user(namespace, account)
        self._may(user, "", "users", "", name)
        return User(name)

    def _may(self, user: User, group: str, resource: str, subresource: str, name: str, namespace: str = "") -> None:
        self._authorization.check(Action(user, "impersonate", group, resource, subresource, namespace, name))
