"""EndpointSlice mirroring: slices for Endpoints that people write themselves, for a Service without a selector.

Proxies and DNS read slices only. Upstream: `pkg/controller/endpointslicemirroring/`. Each subset's addresses of a
family are one slice; what is beyond the limit is left out and said so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers import service_pods, slice_plan
from control_plane.controllers.base import ENDPOINT_SLICES, ENDPOINTS, SERVICES, Context, Controller
from control_plane.controllers.endpointslice import CHECK_AGAIN_S, MANAGED_BY_LABEL, SERVICE_LABEL, owner_key
from control_plane.controllers.equality import same
from control_plane.controllers.trigger_times import ANNOTATION

MANAGER: Final = "endpointslicemirroring-controller.k8s.io"
SKIP_LABEL: Final = "endpointslice.kubernetes.io/skip-mirror"
LEADER_ANNOTATION: Final = "control-plane.alpha.kubernetes.io/leader"
"""Endpoints that old leader elections used as a lock: they hold no addresses."""
NOT_COPIED: Final = (ANNOTATION, "kubectl.kubernetes.io/last-applied-configuration")
MIRROR_INDEX: Final = "mirror"

Group = tuple[str, slice_plan.Ports]
"""(address family, ports): what one slice holds."""


class EndpointSliceMirroringController(Controller):
    name = "endpointslice-mirroring-controller"
    watches = (ENDPOINTS, ENDPOINT_SLICES, SERVICES)
    writes = (ENDPOINT_SLICES,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._endpoints = self.informer(ENDPOINTS)
        self._slices = self.informer(ENDPOINT_SLICES)
        self._services = self.informer(SERVICES)
        self._slices.add_index(MIRROR_INDEX, partial(owner_key, MANAGER))
        self.enqueue_changes(self._endpoints)
        self.enqueue_changes(self._services)
        self._slices.add_handler(
            added=self._slice_changed, updated=lambda _old, new: self._slice_changed(new), deleted=self._slice_changed
        )

    @property
    def workers(self) -> int:
        return self.config.mirroring_concurrent_service_endpoint_syncs

    def _slice_changed(self, slice_: JsonObject) -> None:
        for key in owner_key(MANAGER, slice_):
            self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        endpoints, service = self._endpoints.get(key), self._services.get(key)
        existing = [each for each in self._slices.by_index(MIRROR_INDEX, key) if not meta.is_deleting(each)]
        if endpoints is None or service is None or not is_mirrored(endpoints, service):
            for each in existing:
                await self._delete(each)
            return None
        if self.is_behind(key):
            return CHECK_AGAIN_S
        groups, skipped = mirrored(endpoints, self.config.mirroring_max_endpoints_per_subset)
        if skipped:
            most = self.config.mirroring_max_endpoints_per_subset
            message = (
                f"A max of {most} addresses can be mirrored to EndpointSlices per Endpoints subset. "
                f"{skipped} addresses were skipped"
            )
            self.events.event(endpoints, "Warning", "TooManyAddressesToMirror", message)
        await self._write(key, endpoints, existing, groups)
        return None

    async def _write(
        self,
        key: str,
        endpoints: JsonObject,
        existing: list[JsonObject],
        groups: Mapping[Group, list[JsonObject]],
    ) -> None:
        """A slice whose group is gone is taken for another of its family, rather than one made and one deleted."""
        spare = list(existing)
        held: dict[Group, JsonObject] = {}
        for each in existing:
            group = (str(each.get("addressType", "")), slice_plan.ports_of(each))
            if group in groups and group not in held:
                held[group] = each
                spare.remove(each)
        for group, wanted in groups.items():
            old = held.get(group)
            if old is None:
                old = next((each for each in spare if each.get("addressType") == group[0]), None)
                if old is not None:
                    spare.remove(old)
            new = slice_of(endpoints, group, wanted, old)
            if old is None:
                if not meta.is_deleting(endpoints):
                    self.wrote(key, ENDPOINT_SLICES, await self.writer(ENDPOINT_SLICES).create(new))
            elif not same(_facts(old), _facts(new)):
                self.wrote(key, ENDPOINT_SLICES, await self.writer(ENDPOINT_SLICES).update(new))
        for each in spare:
            await self._delete(each)

    async def _delete(self, slice_: JsonObject) -> None:
        try:
            await self.writer(ENDPOINT_SLICES).delete(
                meta.name(slice_), namespace=meta.namespace(slice_), uid=meta.uid(slice_)
            )
        except ApiError as error:
            if error.code != 404:
                raise


def is_mirrored(endpoints: JsonObject, service: JsonObject) -> bool:
    """Endpoints of a Service with a selector are made by a controller, and their slices beside them."""
    return (
        not service_pods.selector_pairs(service)
        and meta.labels(endpoints).get(SKIP_LABEL) != "true"
        and LEADER_ANNOTATION not in meta.annotations(endpoints)
    )


def mirrored(endpoints: JsonObject, most: int) -> tuple[dict[Group, list[JsonObject]], int]:
    """(endpoints by group, how many addresses were beyond `most` of their subset)."""
    groups: dict[Group, dict[str, JsonObject]] = {}
    skipped = 0
    for subset in endpoints.get("subsets") or ():
        ports = slice_plan.ports_of(subset)
        sides = [(address, True) for address in subset.get("addresses") or ()]
        sides += [(address, False) for address in subset.get("notReadyAddresses") or ()]
        skipped += max(0, len(sides) - most)
        for address, ready in sides[:most]:
            ip = ipaddress.ip_address(str(address.get("ip")))
            groups.setdefault((f"IPv{ip.version}", ports), {})[str(ip)] = _endpoint(address, str(ip), ready)
    return {group: [found[ip] for ip in sorted(found)] for group, found in groups.items()}, skipped


def _endpoint(address: JsonObject, ip: str, ready: bool) -> JsonObject:
    result: JsonObject = {"addresses": [ip], "conditions": {"ready": ready}}
    for field in ("targetRef", "nodeName", "hostname"):
        if address.get(field):
            result[field] = address[field]
    return result


def slice_of(endpoints: JsonObject, group: Group, wanted: list[JsonObject], old: JsonObject | None) -> JsonObject:
    """The slice as it is to be; in the place of `old`, if there is one."""
    family, ports = group
    labels = {**meta.labels(endpoints), SERVICE_LABEL: meta.name(endpoints), MANAGED_BY_LABEL: MANAGER}
    annotations = _without(meta.annotations(endpoints), NOT_COPIED)
    metadata: JsonObject = {
        **({"generateName": f"{meta.name(endpoints)}-"} if old is None else meta.metadata(old)),
        "namespace": meta.namespace(endpoints),
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [meta.owner_reference({"apiVersion": "v1", "kind": "Endpoints", **endpoints})],
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": family,
        "endpoints": wanted,
        "ports": [port.as_json() for port in ports],
    }


def _without(texts: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if name not in names}


def _facts(slice_: JsonObject) -> tuple[object, ...]:
    shown = sorted(slice_.get("endpoints") or (), key=lambda each: str(each.get("addresses")))
    ports = [port.as_json() for port in slice_plan.ports_of(slice_)]
    return [shown], ports, meta.labels(slice_), meta.annotations(slice_)
