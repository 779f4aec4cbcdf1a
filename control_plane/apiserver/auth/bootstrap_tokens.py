"""Bootstrap tokens: `ID.SECRET` kept as Secrets `bootstrap-token-ID` in kube-system, for joining nodes.

Rules: plugin/pkg/auth/authenticator/token/bootstrap.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import Final

from argosy.host import Clock, parse_rfc3339
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.apiserver.auth.x509 import AUTHENTICATED
from control_plane.apiserver.request import User
from control_plane.apiserver.resources import Resources

TYPE: Final = "bootstrap.kubernetes.io/token"
GROUP: Final = "system:bootstrappers"
_TOKEN: Final = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})", re.ASCII)
_GROUP: Final = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]", re.ASCII)


class BootstrapTokens:
    def __init__(self, clock: Clock, resources: Resources) -> None:
        self._clock = clock
        self._secrets = resources.require("", "secrets").cache

    def user(self, token: str) -> User | None:
        """None when the text is no bootstrap token, or not a good one."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        token_id, secret = match.groups()
        entry = self._secrets.get(f"kube-system/bootstrap-token-{token_id}")
        if entry is None or meta.is_deleting(entry.obj) or entry.obj.get("type") != TYPE:
            return None
        data = _decoded(entry.obj)
        if data.get("token-id") != token_id or not hmac.compare_digest(data.get("token-secret", ""), secret):
            return None
        if data.get("usage-bootstrap-authentication") != "true" or self._expired(data.get("expiration", "")):
            return None
        extra = [text for text in data.get("auth-extra-groups", "").split(",") if _GROUP.fullmatch(text)]
        return User(f"system:bootstrap:{token_id}", (GROUP, *extra, AUTHENTICATED))

    def _expired(self, text: str) -> bool:
        if not text:
            return False
        try:
            return self._clock.now() >= parse_rfc3339(text)
        except ValueError:
            return True


def _decoded(secret: JsonObject) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            found[key] = base64.b64decode(value).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
    return found
