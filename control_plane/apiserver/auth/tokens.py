"""ServiceAccount tokens: signed, bound to an audience, a lifetime and mostly a pod, and checked against the cache.

Claims and rules: pkg/serviceaccount/claims.go, KEP-1205. One key signs; further public keys may verify.
"""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from argosy.host import Host
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.apiserver.auth.x509 import AUTHENTICATED
from control_plane.apiserver.request import User
from control_plane.apiserver.resources import Resources

PRIVATE_CLAIM: Final = "kubernetes.io"
SUBJECT_PREFIX: Final = "system:serviceaccount:"
CACHED: Final = 2048
MAX_TOKEN_CHARS: Final = 16 << 10
LEEWAY_S: Final = 10


class TokenError(Exception):
    """The token is no good; why is for the log, not for the caller."""


@dataclass(frozen=True)
class Bound:
    """What a token is bound to."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    node_name: str = ""
    node_uid: str = ""


def service_account_user(
    namespace: str, name: str, uid: str = "", extra: dict[str, tuple[str, ...]] | None = None
) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"{SUBJECT_PREFIX}{namespace}:{name}", groups, uid, extra or {})


class Tokens:
    """Signs and verifies. `key_pem` is a private key, RSA or P-256."""

    def __init__(
        self, host: Host, resources: Resources, key_pem: bytes, issuer: str, audiences: Sequence[str]
    ) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        key = serialization.load_pem_private_key(key_pem, None)
        if isinstance(key, rsa.RSAPrivateKey):
            self._algorithm = "RS256"
        elif isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size == 256:
            self._algorithm = "ES256"
        else:
            raise ValueError("the service account key must be RSA or P-256")
        self._key: Any = key
        self._public: Any = key.public_key()
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
        self._host = host
        self._accounts = resources.require("", "serviceaccounts").cache
        self._pods = resources.require("", "pods").cache
        self._secrets = resources.require("", "secrets").cache
        self._nodes = resources.require("", "nodes").cache
        self.issuer = issuer
        self.audiences = tuple(audiences)
        self._verified: OrderedDict[str, JsonObject] = OrderedDict()

    def sign(
        self, namespace: str, name: str, uid: str, audiences: Sequence[str], expiration_s: int, bound: Bound
    ) -> tuple[str, float]:
        """(token, its end in Unix seconds)."""
        import jwt

        now = int(self._host.clock.now())
        private: JsonObject = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        if bound.kind:
            private[bound.kind.lower()] = {"name": bound.name, "uid": bound.uid}
        if bound.node_name and bound.kind == "Pod":
            private["node"] = {"name": bound.node_name, **({"uid": bound.node_uid} if bound.node_uid else {})}
        claims: JsonObject = {
            "aud": list(audiences or self.audiences),
            "exp": now + expiration_s,
            "iat": now,
            "iss": self.issuer,
            "jti": self._host.rng.uuid(),
            PRIVATE_CLAIM: private,
            "nbf": now,
            "sub": f"{SUBJECT_PREFIX}{namespace}:{name}",
        }
        token = jwt.encode(claims, self._key, self._algorithm, headers={"kid": self.key_id})
        return token, float(now + expiration_s)

    def verify(self, token: str, audiences: Sequence[str] = ()) -> tuple[User, list[str]]:
        """(user, which of the audiences it is for). Raises TokenError."""
        claims = self._claims(token)
        now = self._host.clock.now()
        if now >= float(claims.get("exp", 0)) or now + LEEWAY_S < float(claims.get("nbf", 0)):
            raise TokenError("expired or not yet valid")
        given = claims.get("aud") or []
        given = [given] if isinstance(given, str) else given
        wanted = list(audiences or self.audiences)
        common = [item for item in wanted if item in given]
        if not common:
            raise TokenError("wrong audience")
        return self._user(claims), common

    def _claims(self, token: str) -> JsonObject:
        """The claims of a well-signed token of this issuer; signatures are checked once."""
        import jwt

        known = self._verified.get(token)
        if known is not None:
            return known
        if len(token) > MAX_TOKEN_CHARS:
            raise TokenError("too long")
        options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
        try:
            claims: JsonObject = jwt.decode(
                token, self._public, algorithms=[self._algorithm], issuer=self.issuer, options=options
            )
        except jwt.PyJWTError as error:
            raise TokenError(str(error)) from None
        self._verified[token] = claims
        if len(self._verified) > CACHED:
            self._verified.popitem(last=False)
        return claims

    def _user(self, claims: JsonObject) -> User:
        private = claims.get(PRIVATE_CLAIM)
        if not isinstance(private, dict):
            raise TokenError("no private claims")
        namespace = str(private.get("namespace", ""))
        account = private.get("serviceaccount") or {}
        name, uid = str(account.get("name", "")), str(account.get("uid", ""))
        entry = self._accounts.get(f"{namespace}/{name}")
        if entry is None or meta.uid(entry.obj) != uid or claims.get("sub") != f"{SUBJECT_PREFIX}{namespace}:{name}":
            raise TokenError("the service account is gone")
        extra: dict[str, tuple[str, ...]] = {}
        if claims.get("jti"):
            extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims['jti']}",)
        for kind, cache, key in (
            ("pod", self._pods, f"{namespace}/"),
            ("secret", self._secrets, f"{namespace}/"),
        ):
            bound = private.get(kind)
            if not bound:
                continue
            target = cache.get(key + str(bound.get("name", "")))
            if target is None or meta.uid(target.obj) != bound.get("uid"):
                raise TokenError(f"the {kind} that the token is bound to is gone")
            if kind == "pod":
                extra["authentication.kubernetes.io/pod-name"] = (str(bound["name"]),)
                extra["authentication.kubernetes.io/pod-uid"] = (str(bound["uid"]),)
        node = private.get("node")
        if node:
            extra["authentication.kubernetes.io/node-name"] = (str(node.get("name", "")),)
            if node.get("uid"):
                extra["authentication.kubernetes.io/node-uid"] = (str(node["uid"]),)
        return service_account_user(namespace, name, uid, extra)

    def jwks(self) -> JsonObject:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        numbers = self._public.public_numbers()
        key: JsonObject = {"use": "sig", "kid": self.key_id, "alg": self._algorithm}
        if self._algorithm == "RS256":
            key |= {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        else:
            key |= {"kty": "EC", "crv": "P-256", "x": _number(numbers.x, 32), "y": _number(numbers.y, 32)}
        return {"keys": [key]}


def _number(value: int, size: int = 0) -> str:
    data = value.to_bytes(size or (value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
