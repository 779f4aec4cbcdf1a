"""Who asks an aggregated server: the user that the API server names, proved by its front-proxy certificate.

What proves it is published in kube-system/extension-apiserver-authentication. Those who come by themselves show a
client certificate of the cluster, or a token, which the API server is asked about. Rules: k8s.io/apiserver
`pkg/authentication/request/headerrequest` and `pkg/server/options/authentication.go`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import orjson

from argosy import logs
from argosy.client import Client
from argosy.host import Clock
from argosy.objects import status as errors
from argosy.objects.status import ApiError
from control_plane.aggregated.calls import ANONYMOUS, User

NAME: Final = "extension-apiserver-authentication"
NAMESPACE: Final = "kube-system"
REFRESH_S: Final = 60.0
TOKEN_TTL_S: Final = 10.0
CACHED: Final = 1024
AUTHENTICATED: Final = "system:authenticated"
log = logs.get("aggregated.identity")


@dataclass(frozen=True)
class Published:
    """What the ConfigMap says."""

    proxy_ca: str = ""
    client_ca: str = ""
    allowed_names: tuple[str, ...] = ()
    """Empty: every certificate of the proxy's authority."""
    user_headers: tuple[str, ...] = ("x-remote-user",)
    uid_headers: tuple[str, ...] = ("x-remote-uid",)
    group_headers: tuple[str, ...] = ("x-remote-group",)
    extra_prefixes: tuple[str, ...] = ("x-remote-extra-",)

    @property
    def authorities(self) -> list[str]:
        return [item for item in (self.proxy_ca, self.client_ca) if item]


def published(data: Mapping[str, str]) -> Published:
    """From the ConfigMap's data. Raises ValueError for lists that are none."""

    def names(key: str, *, lower: bool = True) -> tuple[str, ...]:
        found = orjson.loads(data.get(f"requestheader-{key}") or "[]")
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise ValueError(f"requestheader-{key} is no list of strings")
        return tuple(item.lower() if lower else item for item in found)

    return Published(
        data.get("requestheader-client-ca-file") or "",
        data.get("client-ca-file") or "",
        names("allowed-names", lower=False),
        names("username-headers"),
        names("uid-headers"),
        names("group-headers"),
        names("extra-headers-prefix"),
    )


class Trust:
    """`load` before the first request; it is kept up to date by `user`."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._maps = client.resource("", "v1", "configmaps")
        self._reviews = client.resource("authentication.k8s.io", "v1", "tokenreviews")
        self._clock = clock
        self._loaded_at = float("-inf")
        self.published = Published()
        self._signed: OrderedDict[tuple[bytes, str], bool] = OrderedDict()
        self._tokens: OrderedDict[bytes, tuple[float, User]] = OrderedDict()

    async def load(self) -> Published:
        """Raises ApiError, and ValueError for what makes no sense."""
        found = await self._maps.get(NAME, namespace=NAMESPACE)
        self.published = published(found.get("data") or {})
        self._loaded_at = self._clock.monotonic()
        return self.published

    async def refresh(self) -> Published:
        """What is known, at most a minute old where the API server can be reached."""
        if self._clock.monotonic() - self._loaded_at >= REFRESH_S:
            self._loaded_at = self._clock.monotonic()
            try:
                await self.load()
            except (ApiError, ValueError) as error:
                log.warning("cannot read who may be trusted", error=error)
        return self.published

    async def user(self, certificate: bytes, subject: object, headers: Sequence[tuple[str, str]]) -> User:
        """`certificate` is DER, verified by one of the authorities, or empty. Raises ApiError 401."""
        known = await self.refresh()
        lower = [(name.lower(), value) for name, value in headers]
        if certificate:
            name, groups = _subject(subject)
            allowed = not known.allowed_names or name in known.allowed_names
            if allowed and self._is_signed(certificate, known.proxy_ca):
                user = _named(known, lower)
                if user is not None:
                    return user
            if name and self._is_signed(certificate, known.client_ca):
                return User(name, (*groups, AUTHENTICATED))
        scheme, _, token = next((value for key, value in lower if key == "authorization"), "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return await self._token(token.strip())
        return ANONYMOUS

    def _is_signed(self, certificate: bytes, authority: str) -> bool:
        """Whether this authority, of those that the handshake accepts, vouches for a certificate."""
        if not authority:
            return False
        key = (hashlib.sha256(certificate).digest(), authority)
        if key not in self._signed:
            self._signed[key] = _verify(certificate, authority)
            if len(self._signed) > CACHED:
                self._signed.popitem(last=False)
        return self._signed[key]

    async def _token(self, token: str) -> User:
        key = hashlib.sha256(token.encode()).digest()
        now = self._clock.monotonic()
        known = self._tokens.get(key)
        if known is not None and known[0] > now:
            return known[1]
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}}
        answer = await self._reviews.create({**review, "spec": {"token": token}})
        status = answer.get("status") or {}
        if not status.get("authenticated"):
            raise errors.unauthorized()
        found = status.get("user") or {}
        extra = {name: tuple(values) for name, values in (found.get("extra") or {}).items()}
        user = User(found.get("username") or "", tuple(found.get("groups") or ()), found.get("uid") or "", extra)
        self._tokens[key] = (now + TOKEN_TTL_S, user)
        if len(self._tokens) > CACHED:
            self._tokens.popitem(last=False)
        return user


def _named(known: Published, headers: Sequence[tuple[str, str]]) -> User | None:
    """The user whom the front proxy names."""

    def values(names: Iterable[str]) -> list[str]:
        return [value for name in names for key, value in headers if key == name]

    name = next(iter(values(known.user_headers)), "")
    if not name:
        return None
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in headers:
        for prefix in known.extra_prefixes:
            if key.startswith(prefix):
                field = unquote(key[len(prefix) :])
                extra[field] = (*extra.get(field, ()), value)
    return User(name, tuple(values(known.group_headers)), next(iter(values(known.uid_headers)), ""), extra)


def _subject(subject: object) -> tuple[str, tuple[str, ...]]:
    """(common name, organisations) of a subject as ssl gives it."""
    pairs = [pair for part in subject for pair in part] if isinstance(subject, tuple) else []
    names = [value for key, value in pairs if key == "commonName"]
    return (names[0] if names else ""), tuple(value for key, value in pairs if key == "organizationName")


def _verify(certificate: bytes, authority: str) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        shown = x509.load_der_x509_certificate(certificate)
        authorities = x509.load_pem_x509_certificates(authority.encode())
    except ValueError:
        return False
    for item in authorities:
        try:
            shown.verify_directly_issued_by(item)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False
