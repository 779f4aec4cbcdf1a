"""ServiceAccounts: a `default` one in each namespace, and the token Secrets that are asked for by annotation.

Upstream: `pkg/controller/serviceaccount/`. Tokens are asked of the API server, bound to their Secret, so that there
is one signer and deleting the Secret ends the token; upstream's legacy tokens never expire, these are renewed.
"""

from __future__ import annotations

import base64
from typing import Final

from argosy.host import parse_rfc3339, rfc3339
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers.base import NAMESPACES, SERVICE_ACCOUNTS, Context, Controller, ResourceName

TOKEN_TYPE: Final = "kubernetes.io/service-account-token"  # noqa: S105  # a type's name
NAME_ANNOTATION: Final = "kubernetes.io/service-account.name"
UID_ANNOTATION: Final = "kubernetes.io/service-account.uid"
RENEW_ANNOTATION: Final = "argosy.dev/renew-token-at"
TOKEN_LIFETIME_S: Final = 365 * 86400
"""What is asked for; the API server may give less."""
MIN_LIFETIME_S: Final = 600.0
RENEW_AT: Final = 0.8
"""Of its lifetime."""
TOKEN_SECRETS: Final = ResourceName("", "v1", "secrets", f"type={TOKEN_TYPE}")
ACCOUNT_INDEX: Final = "service-account"
MISSING_AGAIN_S: Final = 10.0


class ServiceAccountController(Controller):
    """Keys are namespaces."""

    name = "serviceaccount-controller"
    watches = (NAMESPACES, SERVICE_ACCOUNTS)
    writes = (SERVICE_ACCOUNTS,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = self.informer(NAMESPACES)
        self._accounts = self.informer(SERVICE_ACCOUNTS)
        self.enqueue_changes(self._namespaces)
        self._accounts.add_handler(deleted=lambda account: self.queue.add(meta.namespace(account)))

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or meta.status(namespace).get("phase") == "Terminating" or meta.is_deleting(namespace):
            return None
        if self._accounts.get(f"{key}/default") is not None:
            return None
        metadata = {"name": "default", "namespace": key}
        try:
            await self.writer(SERVICE_ACCOUNTS).create(
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
            )
        except ApiError as error:
            if error.reason not in ("AlreadyExists", "Forbidden", "NotFound"):
                raise
        return None


def by_account(secret: JsonObject) -> list[str]:
    """`namespace/name` of the account whose token the Secret is to hold."""
    name = meta.annotations(secret).get(NAME_ANNOTATION)
    return [f"{meta.namespace(secret)}/{name}"] if secret.get("type") == TOKEN_TYPE and name else []


class TokenController(Controller):
    """Keys are Secrets."""

    name = "serviceaccount-token-controller"
    watches = (TOKEN_SECRETS, SERVICE_ACCOUNTS)
    writes = (TOKEN_SECRETS, SERVICE_ACCOUNTS)

    def __init__(self, context: Context) -> None:
        """Raises OSError when --root-ca cannot be read."""
        super().__init__(context)
        self._root_ca = read(self.config.root_ca)
        self._secrets = self.informer(TOKEN_SECRETS)
        self._accounts = self.informer(SERVICE_ACCOUNTS)
        self._secrets.add_index(ACCOUNT_INDEX, by_account)
        self._secrets.add_handler(added=self._secret_changed, updated=lambda _old, new: self._secret_changed(new))
        self._accounts.add_handler(added=self._account_changed, deleted=self._account_changed)

    @property
    def workers(self) -> int:
        return self.config.concurrent_serviceaccount_token_syncs

    def _secret_changed(self, secret: JsonObject) -> None:
        if by_account(secret):
            self.enqueue(secret)

    def _account_changed(self, account: JsonObject) -> None:
        for secret in self._secrets.by_index(ACCOUNT_INDEX, meta.key(account)):
            self.enqueue(secret)

    async def reconcile(self, key: str) -> float | None:
        secret = self._secrets.get(key)
        owners = by_account(secret) if secret is not None else []
        if secret is None or not owners or meta.is_deleting(secret):
            return None
        account = await self._live_account(owners[0])
        wanted_uid = meta.annotations(secret).get(UID_ANNOTATION)
        if account is None or (wanted_uid and wanted_uid != meta.uid(account)):
            await self._delete(secret)
            return None
        change, again_s = await self._change(secret, account)
        if change:
            change["metadata"] |= {"uid": meta.uid(secret), "resourceVersion": meta.resource_version(secret)}
            await self.writer(TOKEN_SECRETS).patch(meta.name(secret), change, namespace=meta.namespace(secret))
        return again_s

    async def _live_account(self, key: str) -> JsonObject | None:
        """From the cache, or live before a Secret is given up for its account's absence."""
        found = self._accounts.get(key)
        if found is not None:
            return found
        namespace, name = meta.split_key(key)
        try:
            return await self.reader(SERVICE_ACCOUNTS).get(name, namespace=namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def _change(self, secret: JsonObject, account: JsonObject) -> tuple[JsonObject, float | None]:
        """(merge patch, seconds until the token is renewed, if it is one of ours)."""
        now = self.host.clock.now()
        data = secret.get("data") or {}
        annotations: JsonObject = {}
        new: JsonObject = {}
        renew = meta.annotations(secret).get(RENEW_ANNOTATION, "")
        if "token" not in data or (renew and now >= parse_rfc3339(renew)):
            new["token"], expires_s = await self._token(secret, account)
            renew = rfc3339(now + RENEW_AT * max(MIN_LIFETIME_S, expires_s - now))
            annotations[RENEW_ANNOTATION] = renew
        if self._root_ca and data.get("ca.crt") != _base64(self._root_ca):
            new["ca.crt"] = _base64(self._root_ca)
        if data.get("namespace") != _base64(meta.namespace(secret).encode()):
            new["namespace"] = _base64(meta.namespace(secret).encode())
        if meta.annotations(secret).get(UID_ANNOTATION) != meta.uid(account):
            annotations[UID_ANNOTATION] = meta.uid(account)
        again_s = max(1.0, parse_rfc3339(renew) - now) if renew else None
        if not new and not annotations:
            return {}, again_s
        return {"data": new, "metadata": {"annotations": annotations}}, again_s

    async def _token(self, secret: JsonObject, account: JsonObject) -> tuple[str, float]:
        """(base64 of the token, its end in Unix seconds)."""
        bound = {"apiVersion": "v1", "kind": "Secret", "name": meta.name(secret), "uid": meta.uid(secret)}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": meta.name(account), "namespace": meta.namespace(account)},
            "spec": {"audiences": [], "expirationSeconds": TOKEN_LIFETIME_S, "boundObjectRef": bound},
        }
        answer = await self.writer(SERVICE_ACCOUNTS).create(
            request, namespace=meta.namespace(account), name=meta.name(account), subresource="token"
        )
        status = meta.status(answer)
        expires = status.get("expirationTimestamp")
        expires_s = parse_rfc3339(expires) if expires else self.host.clock.now() + TOKEN_LIFETIME_S
        return _base64(str(status["token"]).encode()), expires_s

    async def _delete(self, secret: JsonObject) -> None:
        try:
            await self.writer(TOKEN_SECRETS).delete(
                meta.name(secret), namespace=meta.namespace(secret), uid=meta.uid(secret)
            )
        except ApiError as error:
            if error.code != 404:
                raise


def read(path: str) -> bytes:
    """A file's content; nothing for no path. Raises OSError."""
    if not path:
        return b""
    with open(path, "rb") as file:
        return file.read()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
