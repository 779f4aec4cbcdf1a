"""What the cluster's DNS says: pure, from services and endpoint slices to records.

Follows the Kubernetes DNS specification 1.1 (github.com/kubernetes/dns, docs/specification.md) as CoreDNS serves it:
`SERVICE.NAMESPACE.svc.DOMAIN` is the cluster IP, or each endpoint of a headless service; endpoints have names of
their own; named ports have SRV records; addresses have PTR records; `1-2-3-4.NAMESPACE.pod.DOMAIN` is that address.
The index in `zone.py` keeps these by name and answers from it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from argosy.objects.types import JsonObject
from control_plane.dns import names

Type = Literal["A", "AAAA", "CNAME", "SRV", "PTR"]

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Record:
    """`value` is an address, a name, or for SRV the target's name with `port`."""

    name: str
    type: Type
    value: str
    port: int = 0


def address_record(name: str, ip: str) -> Record:
    return Record(name, "AAAA" if ":" in ip else "A", ip)


def service_domain(service: JsonObject, domain: str) -> str:
    metadata = service["metadata"]
    return names.normal(f"{metadata['name']}.{metadata.get('namespace', '')}.svc.{domain}")


def key_of_slice(endpoint_slice: JsonObject) -> str:
    """`namespace/service` that a slice belongs to; empty for none."""
    metadata = endpoint_slice["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL, "")
    return f"{metadata.get('namespace', '')}/{name}" if name else ""


def headless(service: JsonObject) -> bool:
    return (service.get("spec") or {}).get("clusterIP") == "None"


def service_records(service: JsonObject, slices: Iterable[JsonObject], domain: str) -> tuple[Record, ...]:
    """Everything that one service puts into DNS, each record once, in a stable order.

    `slices` are its EndpointSlices; only headless services need them.
    """
    spec = service.get("spec") or {}
    base = service_domain(service, domain)
    if spec.get("type") == "ExternalName":
        target = names.normal(str(spec.get("externalName") or ""))
        if not target:
            return ()
        if _is_address(target):
            return (address_record(base, target),)
        return (Record(base, "CNAME", target),)
    found = _headless(service, slices, base) if headless(service) else _cluster_ip(service, base)
    return tuple(dict.fromkeys(found))


def _cluster_ip(service: JsonObject, base: str) -> Iterator[Record]:
    spec = service.get("spec") or {}
    ips = [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and _is_address(str(ip))]
    for ip in ips:
        yield address_record(base, str(ip))
        yield Record(names.reverse(str(ip)), "PTR", base)
    for port in spec.get("ports") or ():
        if ips and port.get("name") and isinstance(port.get("port"), int):
            yield Record(_srv_name(port, base), "SRV", base, port["port"])


def _headless(service: JsonObject, slices: Iterable[JsonObject], base: str) -> Iterator[Record]:
    unready = bool((service.get("spec") or {}).get("publishNotReadyAddresses"))
    for piece in slices:
        if piece.get("addressType") not in ("IPv4", "IPv6"):
            continue
        for endpoint in piece.get("endpoints") or ():
            if not unready and (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            for address in endpoint.get("addresses") or ():
                if _is_address(str(address)):
                    yield from _endpoint(str(address), endpoint, piece.get("ports") or (), base)


def _endpoint(ip: str, endpoint: JsonObject, ports: Sequence[JsonObject], base: str) -> Iterator[Record]:
    """An endpoint's own name is its hostname where the pod asked for one, else made of its address."""
    hostname = str(endpoint.get("hostname") or "")
    name = f"{names.normal(hostname) if hostname else names.dashed(ip)}.{base}"
    yield address_record(base, ip)
    yield address_record(name, ip)
    if hostname:
        yield Record(names.reverse(ip), "PTR", name)
    for port in ports:
        if port.get("name") and isinstance(port.get("port"), int):
            yield Record(_srv_name(port, base), "SRV", name, port["port"])


def _srv_name(port: JsonObject, base: str) -> str:
    protocol = str(port.get("protocol") or "TCP").lower()
    return f"_{str(port['name']).lower()}._{protocol}.{base}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
