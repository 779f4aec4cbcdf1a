"""Tokens by which machines join: made, listed and deleted with `argosy token`.

A token is `ID.SECRET.PIN`. ID and SECRET are a bootstrap token as upstream has them, kept as a Secret in kube-system
that ends by itself; PIN is the hash of the cluster authority's public key (kubeadm's discovery-token-ca-cert-hash),
by which a joining machine knows that it speaks to the right cluster before it shows the token.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

from argosy.client import Client
from argosy.host import Host, Rng, parse_rfc3339, rfc3339
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject

NAMESPACE: Final = "kube-system"
TYPE: Final = "bootstrap.kubernetes.io/token"
PREFIX: Final = "bootstrap-token-"
GROUP: Final = "system:bootstrappers:argosy:default-node-token"
DEFAULT_TTL_S: Final = 24 * 3600
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_TOKEN: Final = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})(?:\.([0-9a-f]{64}))?", re.ASCII)


class TokenError(Exception):
    """No token, or none that is known; the message says so."""


@dataclass(frozen=True)
class JoinToken:
    """What a machine that joins was told."""

    token_id: str
    secret: str
    pin: str
    """SHA-256 of the authority's public key, hexadecimal."""

    @property
    def bearer(self) -> str:
        return f"{self.token_id}.{self.secret}"

    def __str__(self) -> str:
        return f"{self.bearer}.{self.pin}"


@dataclass(frozen=True)
class Known:
    """A token as `argosy token list` shows it: its secret is not told again."""

    token_id: str
    expires_s: float | None
    """Unix seconds; None: never."""
    description: str


def parse(text: str) -> JoinToken:
    """Raises TokenError."""
    match = _TOKEN.fullmatch(text.strip())
    if match is None:
        raise TokenError("--token is not one: `argosy token create` on the server's machine prints ID.SECRET.PIN")
    if match[3] is None:
        raise TokenError(
            "--token lacks the pin of the cluster's authority: `argosy token create` prints ID.SECRET.PIN"
        )
    return JoinToken(match[1], match[2], match[3])


def pin_of(authority: bytes) -> str:
    """The pin of an authority's certificate, PEM."""
    from argosy import pki

    return pki.fingerprint(authority).removeprefix("sha256:")


def _word(rng: Rng, length: int) -> str:
    """Letters and digits, each as likely as the others."""
    found = ""
    fair = 256 - 256 % len(_ALPHABET)
    while len(found) < length:
        found += "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in rng.token(length) if byte < fair)
    return found[:length]


def secret(token: JoinToken, expires_s: float | None, description: str) -> JsonObject:
    """The Secret that makes a token good."""
    data = {
        "token-id": token.token_id,
        "token-secret": token.secret,
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": GROUP,
    }
    if expires_s is not None:
        data["expiration"] = rfc3339(expires_s)
    if description:
        data["description"] = description
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": TYPE,
        "metadata": {"name": PREFIX + token.token_id, "namespace": NAMESPACE},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


async def create(api: Client, host: Host, authority: bytes, *, ttl_s: float, description: str = "") -> JoinToken:
    """A new token, good for `ttl_s` seconds; 0: for ever. Raises ApiError."""
    token = JoinToken(_word(host.rng, 6), _word(host.rng, 16), pin_of(authority))
    expires_s = host.clock.now() + ttl_s if ttl_s else None
    await api.resource("", "v1", "secrets").create(secret(token, expires_s, description))
    return token


async def known(api: Client) -> list[Known]:
    """Every token, expired ones too. Raises ApiError."""
    listed = await api.resource("", "v1", "secrets").list(namespace=NAMESPACE, fields=f"type={TYPE}")
    return sorted((_known(item) for item in listed.items), key=lambda item: item.token_id)


def _known(obj: JsonObject) -> Known:
    data = {key: base64.b64decode(value).decode(errors="replace") for key, value in (obj.get("data") or {}).items()}
    try:
        expires_s = parse_rfc3339(data["expiration"]) if data.get("expiration") else None
    except ValueError:
        # As the API server sees it: an end that cannot be read has passed.
        expires_s = 0.0
    return Known(obj["metadata"]["name"].removeprefix(PREFIX), expires_s, data.get("description", ""))


async def delete(api: Client, token: str) -> None:
    """By ID, or a whole token. Raises TokenError, ApiError."""
    token_id = token.partition(".")[0]
    try:
        await api.resource("", "v1", "secrets").delete(PREFIX + token_id, namespace=NAMESPACE)
    except ApiError as error:
        if error.code != 404:
            raise
        raise TokenError(f"there is no token {token_id!r}; `argosy token list` shows them") from None
