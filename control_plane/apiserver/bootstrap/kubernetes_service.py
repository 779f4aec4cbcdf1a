"""The `kubernetes` Service: the API server's own address inside the cluster, with the live servers as endpoints.

Each server keeps a lease-like key in the store and writes the Endpoints and EndpointSlice from all of them, as
upstream's lease endpoint reconciler does.
"""

from __future__ import annotations

import asyncio
from typing import Final

import orjson

from argosy import logs
from argosy.host import Host
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.allocate.families import family_of
from control_plane.apiserver.assembly import Parts
from control_plane.apiserver.bootstrap import objects
from control_plane.apiserver.config import Config
from control_plane.apiserver.storage.store import ROOT, Changed

NAME: Final = "kubernetes"
NAMESPACE: Final = "default"
PREFIX: Final = ROOT + "argosy/apiservers/"
SERVICE_PORT: Final = 443
ROUND_OF_LEASE: Final = 2 / 3
"""Upstream's: every 10 s of 15."""
RETRY_S: Final = 1.0
log = logs.get("apiserver.kubernetes_service")


async def ensure_service(parts: Parts, config: Config) -> None:
    """Create the Service with the first address of the range. Raises ApiError."""
    first = parts.allocator.ranges[0]
    service: JsonObject = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": first.first(),
            "ipFamilyPolicy": "SingleStack",
            "ipFamilies": [first.family],
            "sessionAffinity": "None",
            "ports": [
                {"name": "https", "protocol": "TCP", "port": SERVICE_PORT, "targetPort": config.advertise_port}
            ],
        },
    }
    await objects.ensure(parts.pipeline, [service])


class Keeper:
    """Says that this server lives, and writes the endpoints when the set of the living changes."""

    def __init__(self, parts: Parts, config: Config, host: Host) -> None:
        self._parts = parts
        self._config = config
        self._host = host
        self._key = PREFIX + config.advertise_address
        self._revision = 0
        """Of the last sign of life, as far as is known."""
        self._left = False

    async def run(self) -> None:
        """For ever, until `leave`."""
        while not self._left:
            pause_s = self._config.endpoint_lease_s * ROUND_OF_LEASE
            try:
                await self._sign_of_life()
                await self._reconcile(await self._living())
            except (ApiError, Changed, ValueError) as error:
                log.warning("cannot keep the kubernetes endpoints", error=error)
                pause_s = min(pause_s, RETRY_S)
            await asyncio.sleep(pause_s)
        await asyncio.Event().wait()

    async def leave(self) -> None:
        """Take this server's address out, at an orderly end. Raises ApiError."""
        self._left = True
        stored = await self._parts.store.read(self._key)
        if stored is not None:
            await self._parts.store.remove(self._key, stored.revision)
            await self._reconcile(await self._living())

    async def _sign_of_life(self) -> None:
        value = orjson.dumps({"until": self._host.clock.now() + self._config.endpoint_lease_s})
        try:
            self._revision = await self._parts.store.replace(self._key, value, self._revision)
        except Changed as found:
            # The server before this one left it, or it was written without an answer.
            known = found.current.revision if found.current is not None else 0
            self._revision = await self._parts.store.replace(self._key, value, known)

    async def _living(self) -> list[str]:
        page = await self._parts.store.page(PREFIX)
        now = self._host.clock.now()
        found: list[str] = []
        for item in page.items:
            address = item.key[len(PREFIX) :]
            if float(orjson.loads(item.value)["until"]) >= now or (item.key == self._key and not self._left):
                found.append(address)
        return sorted(found)

    async def _reconcile(self, addresses: list[str]) -> None:
        for wanted in (self._endpoints(addresses), self._slice(addresses)):
            group, _, version = wanted["apiVersion"].rpartition("/")
            served = self._parts.resources.by_kind(group, version, wanted["kind"])
            if served is None:
                continue
            entry = served.cache.get(served.cache_key(NAMESPACE, NAME))
            if entry is None:
                await objects.ensure(self._parts.pipeline, [wanted])
                continue
            same = all(
                entry.obj.get(key) == wanted[key] for key in ("subsets", "endpoints", "ports") if key in wanted
            )
            if not same:
                version_now = meta.resource_version(entry.obj)
                wanted["metadata"]["resourceVersion"] = version_now
                await objects.update(self._parts.pipeline, wanted)

    def _endpoints(self, addresses: list[str]) -> JsonObject:
        port = {"name": "https", "port": self._config.advertise_port, "protocol": "TCP"}
        obj: JsonObject = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [],
        }
        if addresses:
            obj["subsets"] = [{"addresses": [{"ip": address} for address in addresses], "ports": [port]}]
        return obj

    def _slice(self, addresses: list[str]) -> JsonObject:
        port = {"name": "https", "port": self._config.advertise_port, "protocol": "TCP"}
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": NAME},
            },
            "addressType": family_of(addresses[0]) if addresses else "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            "ports": [port],
        }
