"""What the controller that gives out load balancer addresses and the proxies that answer for them agree on. Pure.

The controller names a node in the Service's annotation; that node's proxy takes the address while its lease, which
lists the addresses it holds, is renewed. The kernel drops an address whose proxy stops renewing it before the lease
counts as over, so that no two nodes ever answer for one address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from argosy.objects import meta
from argosy.objects.types import JsonObject

FINALIZER: Final = "service.kubernetes.io/load-balancer-cleanup"
NODE_ANNOTATION: Final = "argosy.dev/load-balancer-node"
"""On the Service: the node that answers; `-NODE` for one that is to let go; empty while there is none."""
HELD_ANNOTATION: Final = "argosy.dev/load-balancer-addresses"
"""On a lease: the addresses that its node holds, with commas."""
SEEN_ANNOTATION: Final = "argosy.dev/load-balancer-seen"
"""On a lease: the resourceVersion up to which its node knew the Services when it renewed."""
LEASE_NAMESPACE: Final = "kube-node-lease"
LEASE_SUFFIX: Final = ".load-balancer"
FENCE_S: Final = 3
"""A lease counts as over this long after the kernel dropped its addresses: it looks at lifetimes once a second."""
MAX_POOL: Final = 65_536


def lease_name(node: str) -> str:
    return node + LEASE_SUFFIX


def node_of_lease(name: str) -> str:
    """Empty for other leases."""
    return name.removesuffix(LEASE_SUFFIX) if name.endswith(LEASE_SUFFIX) else ""


def wanted(service: JsonObject) -> bool:
    """Whether a load balancer of ours is asked for: one with a class is for somebody else."""
    spec = meta.spec(service)
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass") and not meta.is_deleting(service)


def address(service: JsonObject) -> str:
    """The address it was given; empty for none."""
    ingress = (meta.status(service).get("loadBalancer") or {}).get("ingress") or ()
    return str(ingress[0].get("ip") or "") if ingress else ""


def node(service: JsonObject) -> tuple[str, bool]:
    """The node that holds the address or may still hold it, and whether it is to let go."""
    text = meta.annotations(service).get(NODE_ANNOTATION, "")
    return text.removeprefix("-"), text.startswith("-")


def seen(lease: JsonObject) -> int:
    text = meta.annotations(lease).get(SEEN_ANNOTATION, "")
    return int(text) if text.isdigit() else 0


def held(lease: JsonObject) -> frozenset[str]:
    return frozenset(text for text in meta.annotations(lease).get(HELD_ANNOTATION, "").split(",") if text)


class Pool:
    """IPv4 addresses from `10.77.200.0/24` or `192.168.1.200-192.168.1.220`. Raises ValueError for anything else."""

    def __init__(self, text: str) -> None:
        first, dash, last = text.partition("-")
        if dash:
            self._first, self._last = int(ipaddress.IPv4Address(first)), int(ipaddress.IPv4Address(last))
        else:
            network = ipaddress.IPv4Network(text)
            inner = network.prefixlen < 31
            self._first = int(network.network_address) + inner
            self._last = int(network.broadcast_address) - inner
        if not 0 <= self._last - self._first < MAX_POOL:
            raise ValueError(f"{text}: between 1 and {MAX_POOL} addresses")

    def __contains__(self, text: str) -> bool:
        try:
            return self._first <= int(ipaddress.IPv4Address(text)) <= self._last
        except ValueError:
            return False

    def __iter__(self) -> Iterator[str]:
        return (str(ipaddress.IPv4Address(number)) for number in range(self._first, self._last + 1))
