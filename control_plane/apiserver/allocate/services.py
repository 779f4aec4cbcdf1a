"""clusterIPs and nodePorts: what a Service gets, keeps and gives back, claimed in the transaction that writes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from argosy.host import Rng
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.status import FieldError
from argosy.objects.types import JsonObject
from control_plane.apiserver.allocate import families
from control_plane.apiserver.allocate.families import HEADLESS
from control_plane.apiserver.allocate.ranges import IP_PREFIX, PORT_PREFIX, AddressRange, Exhausted, PortRange
from control_plane.apiserver.cache.feeder import KeySet
from control_plane.apiserver.request import Request
from control_plane.apiserver.storage.store import NO_CLAIMS, Claims, ClaimTaken

WITH_ADDRESS: Final = ("ClusterIP", "NodePort", "LoadBalancer")
WITH_PORTS: Final = ("NodePort", "LoadBalancer")
MAX_AVOIDED: Final = 4096
MAX_CLAIMS: Final = 100
"""Addresses and ports taken or given back in one write: the store's transactions hold 128 operations."""


class ServiceAllocator:
    """`addresses` and `ports` are fed with what is taken; `avoid` bridges the time until they are."""

    def __init__(self, cidrs: Sequence[str], port_range: str, rng: Rng) -> None:
        self.ranges = [AddressRange(cidr, rng) for cidr in cidrs]
        self.port_range = PortRange(port_range, rng)
        self.addresses = KeySet(IP_PREFIX)
        self.ports = KeySet(PORT_PREFIX)
        self._avoid: dict[str, int] = {}

    @property
    def families(self) -> list[str]:
        return [item.family for item in self.ranges]

    def plan_create(self, request: Request, obj: JsonObject) -> Claims:
        """Fill what is to be allocated, in place. Raises ApiError 422 or 500."""
        if not _is_service(request):
            return NO_CLAIMS
        return self._plan(obj, {})

    def plan_update(self, request: Request, new: JsonObject, old: JsonObject) -> Claims:
        """The same for an update: what is held is kept, what is no longer wanted goes back."""
        if not _is_service(request):
            return NO_CLAIMS
        return self._plan(new, old)

    def plan_delete(self, obj: JsonObject) -> Claims:
        if obj.get("kind") != "Service" or obj.get("apiVersion") != "v1":
            return NO_CLAIMS
        return Claims(release=sorted(held_by(obj)))

    def taken(self, claims: Claims, taken: ClaimTaken) -> None:
        """Another has the key: avoid it from now on. Raises ApiError 422 when it was asked for by name."""
        name = taken.key.rpartition("/")[2]
        if taken.key in claims.explicit:
            if taken.key.startswith(IP_PREFIX):
                detail = f"failed to allocate IP {name}: provided IP is already allocated"
                failure = errors.invalid_value("spec.clusterIPs", [name], detail)
            else:
                failure = errors.invalid_value("spec.ports.nodePort", int(name), "provided port is already allocated")
            raise errors.invalid("", "Service", claims.owner, [failure])
        if len(self._avoid) >= MAX_AVOIDED:
            self._avoid.clear()
        self._avoid[name] = taken.revision

    def _avoided(self) -> set[str]:
        """What is known to be taken before the cache has heard of it."""
        reached = self.addresses.revision()
        self._avoid = {name: revision for name, revision in self._avoid.items() if revision > reached}
        return set(self._avoid)

    def _plan(self, obj: JsonObject, old: JsonObject) -> Claims:
        spec = obj["spec"]
        held = held_by(old)
        explicit = frozenset(held_by(obj) - held)
        failures: list[FieldError] = []
        try:
            if spec.get("type") in WITH_ADDRESS:
                failures += self._give_addresses(spec)
            failures += self._give_ports(spec)
        except Exhausted:
            raise errors.internal("failed to allocate: the range is full") from None
        if failures:
            raise errors.invalid("", "Service", meta.name(obj), failures)
        wanted = held_by(obj)
        changes = len(wanted ^ held)
        if max(changes, len(wanted)) > MAX_CLAIMS:
            raise errors.invalid(
                "", "Service", meta.name(obj), [errors.too_many("spec.ports", max(changes, len(wanted)), MAX_CLAIMS)]
            )
        value = orjson.dumps({"service": meta.key(obj), "uid": meta.uid(obj)})
        return Claims(
            take=dict.fromkeys(sorted(wanted - held), value),
            release=sorted(held - wanted),
            explicit=explicit,
            owner=meta.name(obj),
        )

    def _give_addresses(self, spec: JsonObject) -> list[FieldError]:
        failures = families.settle(spec, self.families)
        if failures:
            return failures
        given = list(spec.get("clusterIPs") or ())
        if given and given[0] == HEADLESS:
            spec["clusterIP"], spec["clusterIPs"] = HEADLESS, [HEADLESS]
            return []
        addresses: list[str] = []
        for index, family in enumerate(spec["ipFamilies"]):
            pool = next(item for item in self.ranges if item.family == family)
            address = given[index] if index < len(given) else ""
            if address and not pool.contains(address):
                detail = (
                    f"failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. "
                    f"The range of valid IPs is {pool.network}"
                )
                return [errors.invalid_value("spec.clusterIPs", given, detail)]
            addresses.append(address or pool.free(self.addresses, self._avoided()))
        spec["clusterIP"], spec["clusterIPs"] = addresses[0], addresses
        return []

    def _give_ports(self, spec: JsonObject) -> list[FieldError]:
        failures: list[FieldError] = []
        allowed = spec.get("type") in WITH_PORTS
        fills = allowed and not (
            spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False
        )
        numbers = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
        by_port: dict[int, int] = {}
        for index, port in enumerate(spec.get("ports") or ()):
            number = port.get("nodePort")
            if number and not self.port_range.contains(number):
                detail = (
                    "provided port is not in the valid range. The range of valid ports is "
                    f"{self.port_range.low}-{self.port_range.high}"
                )
                failures.append(errors.invalid_value(f"spec.ports[{index}].nodePort", number, detail))
            elif not number and fills:
                avoid = self._avoided() | {str(used) for used in numbers}
                twin = by_port.get(port["port"])
                number = port["nodePort"] = twin or int(self.port_range.free(self.ports, avoid))
                numbers.add(number)
            if number:
                by_port.setdefault(port["port"], number)
        if _checked(spec) and not spec.get("healthCheckNodePort"):
            avoid = self._avoided() | {str(used) for used in numbers}
            spec["healthCheckNodePort"] = int(self.port_range.free(self.ports, avoid))
        return failures


def _is_service(request: Request) -> bool:
    kind = request.served.kind
    return kind.kind == "Service" and not kind.group


def adjust(new: JsonObject, old: JsonObject) -> None:
    """What only the old type had, and came along unchanged, goes (upstream: dropTypeDependentFields); in place."""
    spec, before = new["spec"], old.get("spec") or {}
    if spec.get("type") not in WITH_ADDRESS and before.get("type") in WITH_ADDRESS:
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if field in spec and (not spec[field] or spec[field] == before.get(field)):
                del spec[field]
    if spec.get("type") not in WITH_PORTS and before.get("type") in WITH_PORTS:
        held = {port.get("nodePort") for port in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in held:
                del port["nodePort"]
        if spec.get("externalTrafficPolicy") == before.get("externalTrafficPolicy") and not spec.get("externalIPs"):
            spec.pop("externalTrafficPolicy", None)
    if (
        _checked(before)
        and not _checked(spec)
        and spec.get("healthCheckNodePort") == before.get("healthCheckNodePort")
    ):
        spec.pop("healthCheckNodePort", None)
    if spec.get("type") != "LoadBalancer" and before.get("type") == "LoadBalancer":
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if field in spec and spec[field] == before.get(field):
                del spec[field]


def _checked(spec: JsonObject) -> bool:
    """Whether load balancers ask nodes at a healthCheckNodePort for it."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def held_by(obj: JsonObject) -> set[str]:
    """The store's keys of what a Service has."""
    spec = obj.get("spec") or {}
    keys: set[str] = set()
    if spec.get("type") in WITH_ADDRESS:
        for address in spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else []):
            if address and address != HEADLESS:
                keys.add(IP_PREFIX + address)
    for port in spec.get("ports") or ():
        if port.get("nodePort") and spec.get("type") in WITH_PORTS:
            keys.add(PORT_PREFIX + str(port["nodePort"]))
    if spec.get("healthCheckNodePort") and spec.get("type") == "LoadBalancer":
        keys.add(PORT_PREFIX + str(spec["healthCheckNodePort"]))
    return keys
