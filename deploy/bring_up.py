"""From started processes to a usable cluster: waits for the API and the nodes, and puts the cluster's own objects in.

Used by `argosy up`, `argosy server` and `argosy join`. Where the control plane is, it speaks gRPC through the Unix
socket on the host, as the administrator; on a machine that joined, over the network, as its node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from argosy import client as sdk
from argosy.client import Client
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.rpc import GrpcNetwork, Tls
from deploy import addon_objects, cluster_info
from deploy.cluster import ClusterConfig
from deploy.cluster_info import ClusterInfo, Resource
from deploy.layout import DNS_PORT, Layout
from deploy.network import place_of
from deploy.place import DnsPlace

POLL_S: Final = 0.05
T = TypeVar("T")


class NotUp(Exception):
    """The cluster did not come up in time; the message says what was still missing."""


def client(layout: Layout, config: ClusterConfig) -> Client:
    """A client of the cluster. Use it within one event loop and close it. Raises OSError."""
    pki = layout.pki
    if config.has_control_plane:
        tls = Tls.load(f"{pki}/ca.crt", f"{pki}/admin.crt", f"{pki}/admin.key", "localhost")
        addresses = [f"unix:{path}" for path in layout.api_sockets(config.apiservers)]
    else:
        name = config.nodes[0].name
        own = f"{layout.node_pki(name)}/agent"
        tls = Tls.load(f"{layout.node(name)}/pki/ca.crt", f"{own}.crt", f"{own}.key")
        addresses = list(config.api_servers)
    return Client(GrpcNetwork(), addresses, tls, field_manager="argosy-up")


async def until(attempt: Callable[[], Awaitable[T | None]], what: str, timeout_s: float) -> T:
    """Try until `attempt` gives something; API errors are tried again. Raises NotUp with the last problem."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    problem = "not yet"
    while True:
        try:
            result = await attempt()
            if result is not None:
                return result
        except ApiError as error:
            problem = str(error)
        if loop.time() >= deadline_s:
            raise NotUp(f"{what}: not within {timeout_s:.0f} s ({problem})")
        await asyncio.sleep(POLL_S)


async def wait_api(api: Client, timeout_s: float) -> None:
    """Until the API server answers with the namespaces that every cluster has."""

    async def attempt() -> bool | None:
        found = {item["metadata"]["name"] for item in (await api.resource("", "v1", "namespaces").list()).items}
        return True if {"default", "kube-system"} <= found else None

    await until(attempt, "the API server does not answer", timeout_s)


async def wait_nodes(api: Client, names: Sequence[str], timeout_s: float) -> None:
    """Until every node of `names` is Ready."""

    async def attempt() -> bool | None:
        found = (await api.resource("", "v1", "nodes").list()).items
        return True if set(names) <= {item["metadata"]["name"] for item in found if is_ready(item)} else None

    await until(attempt, f"not all of {', '.join(names)} are Ready", timeout_s)


def is_ready(obj: JsonObject) -> bool:
    """Whether an object's Ready condition is True."""
    conditions = obj.get("status", {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


async def ensure_objects(api: Client, layout: Layout, config: ClusterConfig, timeout_s: float = 30.0) -> None:
    """The cluster's own objects: the DNS service, whose server runs beside the API server; and what machines that
    join need, where they can."""
    place = place_of(layout, config)
    wanted = dns_objects(place.dns, config.cluster_dns) if place.dns is not None else []
    authority = await asyncio.to_thread(Path(f"{layout.pki}/ca.crt").read_text, "ascii")
    wanted += addon_objects.metrics([item.ip for item in place.control], authority)
    if config.ingress:
        wanted.append(addon_objects.ingress_class())
    if not config.is_on_lan:
        wanted += cluster_info.rules()
    for group, version, plural, obj in wanted:
        make = partial(_create, api.resource(group, version, plural), obj)
        await until(make, f"{obj['kind']} {obj['metadata']['name']} cannot be made", timeout_s)
    if not config.is_on_lan:
        info = ClusterInfo(
            authority,
            f"https://{config.address}:{config.port}",
            place.servers,
            config.cluster_cidr,
            config.cluster_dns,
            config.cluster_domain,
        )
        await until(partial(_publish, api, info), "what machines that join must know cannot be told", timeout_s)


async def _publish(api: Client, info: ClusterInfo) -> bool:
    """Raises ApiError."""
    resource, obj = api.resource("", "v1", "configmaps"), cluster_info.config_map(info)
    await _create(resource, obj)
    found = await resource.get(cluster_info.NAME, namespace=cluster_info.NAMESPACE)
    if found.get("data") != obj["data"]:
        await resource.update({**found, "data": obj["data"]})
    return True


async def _create(resource: sdk.Resource, obj: JsonObject) -> bool:
    """Create it; one that is there already is fine. Raises ApiError."""
    try:
        await resource.create(obj)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
    return True


def dns_objects(dns: DnsPlace, address: str) -> list[Resource]:
    """Service, Endpoints and EndpointSlice `kube-dns`; the Service has no selector, as no pod serves it."""
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "Argosy-DNS"}
    names = (("dns", "UDP"), ("dns-tcp", "TCP"))
    ports = [{"name": name, "port": dns.port, "protocol": protocol} for name, protocol in names]
    service: JsonObject = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
        "spec": {
            "clusterIP": address,
            "ports": [{**port, "port": DNS_PORT, "targetPort": dns.port} for port in ports],
        },
    }
    endpoints: JsonObject = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {**labels, "endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": dns.ip}], "ports": ports}],
    }
    endpoint_slice: JsonObject = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-argosy",
            "namespace": "kube-system",
            "labels": {
                "kubernetes.io/service-name": "kube-dns",
                "endpointslice.kubernetes.io/managed-by": "argosy",
            },
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [dns.ip], "conditions": {"ready": True, "serving": True, "terminating": False}}],
        "ports": ports,
    }
    return [
        ("", "v1", "services", service),
        ("", "v1", "endpoints", endpoints),
        ("discovery.k8s.io", "v1", "endpointslices", endpoint_slice),
    ]


async def delete_node(api: Client, name: str) -> None:
    """Forget a Node object; one that is not there is fine. Raises ApiError."""
    try:
        await api.resource("", "v1", "nodes").delete(name)
    except ApiError as error:
        if error.reason != "NotFound":
            raise
