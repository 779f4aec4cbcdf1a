"""Where a Service's servers are: its ready endpoints' addresses, for what the API server itself asks.

Webhooks and aggregated APIs name a Service. Its VIP only works where a proxy runs, and the API server runs on no
node, so it dials the endpoints (as upstream with `--enable-aggregator-routing`; rules: k8s.io/apiserver
`pkg/util/proxy`, ResolveEndpoint).
"""

from __future__ import annotations

from typing import Final

from argosy.host import Rng
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.resources import Resources

SERVICE_LABEL: Final = "kubernetes.io/service-name"

Address = tuple[str, int]
"""Host, port."""


class ServiceEndpoints:
    def __init__(self, resources: Resources, rng: Rng) -> None:
        self._services = resources.require("", "services").cache
        self._slices = resources.require("discovery.k8s.io", "endpointslices").cache
        self._rng = rng

    def resolve(self, namespace: str, name: str, port: int) -> list[Address]:
        """Every ready address, from a random one on, at least one. Raises ApiError 404, 503."""
        entry = self._services.get(f"{namespace}/{name}")
        if entry is None:
            raise errors.not_found("", "services", name)
        spec = meta.spec(entry.obj)
        if spec.get("type") == "ExternalName":
            return [(str(spec.get("externalName")), port)]
        wanted = port_name_of(spec, port)
        if wanted is None:
            raise errors.unavailable(f'no service port {port} found for service "{name}"')
        found = self.addresses(namespace, name, wanted)
        if not found:
            raise errors.unavailable(f'no endpoints available for service "{name}"')
        start = self._rng.randrange(len(found))
        return found[start:] + found[:start]

    def addresses(self, namespace: str, name: str, port_name: str) -> list[Address]:
        """The ready addresses of one of a service's ports."""
        found: list[Address] = []
        for entry in self._slices.select(namespace):
            if meta.labels(entry.obj).get(SERVICE_LABEL) != name or entry.obj.get("addressType") == "FQDN":
                continue
            port = _slice_port(entry.obj, port_name)
            if port is not None:
                found += [(address, port) for address in _ready(entry.obj)]
        return found


def port_name_of(spec: JsonObject, number: int) -> str | None:
    """The name of a service's port, by its number; None when it has no such port."""
    for port in spec.get("ports") or ():
        if port.get("port") == number:
            return str(port.get("name") or "")
    return None


def _slice_port(item: JsonObject, name: str) -> int | None:
    for port in item.get("ports") or ():
        if (port.get("name") or "") == name and port.get("port") is not None:
            return int(port["port"])
    return None


def _ready(item: JsonObject) -> list[str]:
    """A condition that is not set counts as ready (discovery/v1)."""
    return [
        str(endpoint["addresses"][0])
        for endpoint in item.get("endpoints") or ()
        if endpoint.get("addresses") and (endpoint.get("conditions") or {}).get("ready") is not False
    ]
