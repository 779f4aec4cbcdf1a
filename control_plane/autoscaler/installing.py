"""What autoscalers need of the API before they work: their kinds, and the webhook that changes new pods."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Final

from argosy import logs
from argosy.client import Client
from argosy.objects import conditions, meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject

log = logs.get("autoscaler.installing")

WEBHOOK: Final = "vpa-webhook-config"
RETRY_S: Final = 1.0
TIMEOUT_S: Final = 5


async def install_kinds(client: Client, wanted: Sequence[JsonObject]) -> None:
    """Until the kinds of these definitions are served. Never raises ApiError: it tries again."""
    resource = client.resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    for definition in wanted:
        while True:
            try:
                await ensure(client, ("apiextensions.k8s.io", "v1", "customresourcedefinitions"), definition)
                if conditions.is_true(await resource.get(meta.name(definition)), "Established"):
                    break
            except ApiError as error:
                log.warning("a kind cannot be installed yet", kind=meta.name(definition), error=error.message)
            await asyncio.sleep(RETRY_S)


async def register_webhook(client: Client, url: str, authority: str) -> None:
    """New pods are shown to `url`; `authority` is the PEM text of who signed its certificate. Tries until so."""
    wanted = webhook(url, authority)
    resource = ("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")
    while True:
        try:
            await ensure(client, resource, wanted)
            return
        except ApiError as error:
            log.warning("the webhook cannot be registered yet", error=error.message)
        await asyncio.sleep(RETRY_S)


def webhook(url: str, authority: str) -> JsonObject:
    """A pod is never kept from starting by it: failurePolicy Ignore."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": WEBHOOK},
        "webhooks": [
            {
                "name": "vpa.k8s.io",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": url, "caBundle": base64.b64encode(authority.encode()).decode()},
                "failurePolicy": "Ignore",
                "matchPolicy": "Equivalent",
                "sideEffects": "None",
                "timeoutSeconds": TIMEOUT_S,
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                        "scope": "Namespaced",
                    }
                ],
            }
        ],
    }


async def ensure(client: Client, resource: tuple[str, str, str], wanted: JsonObject) -> None:
    """Create it, or make its spec (or webhooks) what is wanted. Raises ApiError."""
    api = client.resource(*resource)
    try:
        found = await api.get(meta.name(wanted))
    except ApiError as error:
        if error.code != 404:
            raise
        await api.create(wanted)
        return
    await api.patch(meta.name(found), {key: wanted[key] for key in ("spec", "webhooks") if key in wanted})
