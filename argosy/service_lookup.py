"""From a Service's name to one of its endpoints, for processes that have no way to Services' addresses.

The control plane's namespaces have routes to pods but no proxy, and so dial endpoints. Names are the cluster's:
NAME.NAMESPACE.svc, with or without the cluster's domain; every other host is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from argosy.informer import Informer, InformerFactory
from argosy.objects import meta
from argosy.objects.types import JsonObject

SERVICE_LABEL: Final = "kubernetes.io/service-name"
SLICES: Final = ("discovery.k8s.io", "v1", "endpointslices")
_INDEX: Final = "service"


class NoEndpoint(Exception):
    """The Service has no ready endpoint, or is not there."""


class ServiceLookup:
    """Over an informer of EndpointSlices, which is the caller's to start."""

    def __init__(self, slices: Informer) -> None:
        self._slices = slices
        slices.add_index(_INDEX, _service_of)

    @classmethod
    def of(cls, informers: InformerFactory) -> ServiceLookup:
        return cls(informers.informer(*SLICES))

    async def wait_synced(self) -> None:
        await self._slices.wait_synced()

    def resolve(self, host: str, port: int) -> tuple[str, int]:
        """Where to connect. Raises NoEndpoint.

        `port` is the Service's; where the endpoints have another one, the only or first of theirs is meant.
        """
        words = host.split(".")
        if len(words) < 3 or words[2] != "svc":
            return host, port
        for item in self._slices.by_index(_INDEX, f"{words[1]}/{words[0]}"):
            for endpoint in item.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    return str(endpoint["addresses"][0]), _port(item, port)
        raise NoEndpoint(f"the Service {words[1]}/{words[0]} has no ready endpoint")


def _port(item: JsonObject, wanted: int) -> int:
    ports = [int(port["port"]) for port in item.get("ports") or () if port.get("port")]
    return wanted if wanted in ports or not ports else ports[0]


def _service_of(item: JsonObject) -> Iterable[str]:
    name = meta.labels(item).get(SERVICE_LABEL)
    return (f"{meta.namespace(item)}/{name}",) if name else ()
