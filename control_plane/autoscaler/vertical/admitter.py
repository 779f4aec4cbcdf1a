"""Keeps the admission webhook served and registered while this replica leads, and says so in a Lease.

Nothing may be evicted for a recommendation that new pods would not get: the updater looks at the Lease, as upstream's
does (VPA `pkg/utils/status`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from argosy import logs
from argosy.client import Client
from argosy.controller import Context, Controller, Loop, ResourceName
from argosy.host import Clock, parse_rfc3339, rfc3339_micro
from argosy.objects import meta
from argosy.objects.status import ApiError
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.installing import register_webhook
from control_plane.autoscaler.vertical.recommender import AUTOSCALERS
from control_plane.autoscaler.vertical.targets import Selectors
from control_plane.autoscaler.vertical.webhook import PATH, AdmissionWebhook

log = logs.get("autoscaler.admission")

LEASES: Final = ResourceName("coordination.k8s.io", "v1", "leases")
LEASE: Final = "vpa-admission-controller"
NAMESPACE: Final = "kube-system"
LEASE_PERIOD_S: Final = 10.0
LEASE_VALID_S: Final = 60.0


async def is_admitting(client: Client, clock: Clock) -> bool:
    """Whether new pods get what is recommended. Raises ApiError."""
    try:
        lease = await client.resource(*LEASES[:3]).get(LEASE, namespace=NAMESPACE)
    except ApiError as error:
        if error.code == 404:
            return False
        raise
    renewed = meta.spec(lease).get("renewTime")
    return bool(renewed) and parse_rfc3339(str(renewed)) > clock.now() - LEASE_VALID_S


class Admitter(Controller[Config]):
    name = "vpa-admission"
    watches = (AUTOSCALERS,)
    writes = (LEASES,)

    def __init__(self, context: Context[Config]) -> None:
        super().__init__(context)
        targets = Selectors(context.client, self.host.clock)
        self._webhook = AdmissionWebhook(self.informer(AUTOSCALERS).list, targets.of)

    async def reconcile(self, key: str) -> float | None:
        return None

    def loops(self) -> tuple[Loop, ...]:
        return (self._serve,) if self.config.webhook_listen else ()

    async def _serve(self) -> None:
        config = self.config
        serving = asyncio.ensure_future(
            self._webhook.serve(config.webhook_listen, config.webhook_certificate, config.webhook_key)
        )
        try:
            authority = await asyncio.to_thread(Path(config.ca).read_text, "ascii")
            await register_webhook(self._client, f"https://{config.webhook_listen}{PATH}", authority)
            while not serving.done():
                await self._report()
                await asyncio.wait([serving], timeout=LEASE_PERIOD_S)
            await serving
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def _report(self) -> None:
        resource, now = self.writer(LEASES), rfc3339_micro(self.host.clock.now())
        spec = {"holderIdentity": self.config.identity, "leaseDurationSeconds": int(LEASE_VALID_S), "renewTime": now}
        try:
            try:
                found = await resource.get(LEASE, namespace=NAMESPACE)
                await resource.update({**found, "spec": spec})
            except ApiError as error:
                if error.code != 404:
                    raise
                metadata = {"name": LEASE, "namespace": NAMESPACE}
                lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
                await resource.create(lease)
        except ApiError as error:
            log.warning("it could not be said that pods are admitted", error=error.message)
