"""Endpoints: the older, single object with the addresses behind a Service, which some clients still read.

Upstream: `pkg/controller/endpoint/endpoints_controller.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers import pods as podlib
from control_plane.controllers import service_pods
from control_plane.controllers.base import (
    ENDPOINTS,
    LABEL_INDEX,
    PODS,
    SERVICES,
    Context,
    Controller,
    by_labels,
)
from control_plane.controllers.endpointslice import HEADLESS_LABEL
from control_plane.controllers.equality import same
from control_plane.controllers.trigger_times import TriggerTimes, annotated

MAX_ADDRESSES: Final = 1000
OVER_CAPACITY: Final = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY_LABEL: Final = "endpoints.kubernetes.io/managed-by"
MANAGER: Final = "endpoint-controller"


class EndpointsController(Controller):
    name = "endpoints-controller"
    watches = (SERVICES, PODS, ENDPOINTS)
    writes = (ENDPOINTS,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services = self.informer(SERVICES)
        self._pods = self.informer(PODS)
        self._endpoints = self.informer(ENDPOINTS)
        self._services.add_index(service_pods.SELECTOR_INDEX, service_pods.by_selector)
        self._pods.add_index(LABEL_INDEX, by_labels)
        self._times = TriggerTimes()
        self._without_service: dict[str, None] = {}
        """Keys of Services that were seen to go: their Endpoints go too, whoever made them."""
        self._services.add_handler(
            added=self._service_changed,
            updated=lambda _old, new: self._service_changed(new),
            deleted=self._service_gone,
        )
        self.enqueue_changes(self._endpoints)
        self._pods.add_handler(added=self._pod_changed, updated=self._pod_updated, deleted=self._pod_changed)

    @property
    def workers(self) -> int:
        return self.config.concurrent_service_endpoint_syncs

    def _service_changed(self, service: JsonObject) -> None:
        self._without_service.pop(meta.key(service), None)
        self.enqueue(service)

    def _service_gone(self, service: JsonObject) -> None:
        self._times.forget(meta.key(service))
        self._without_service[meta.key(service)] = None
        self.enqueue(service)

    def _pod_changed(self, pod: JsonObject) -> None:
        for service in service_pods.services_of(pod, self._services):
            self.enqueue(service)

    def _pod_updated(self, old: JsonObject, new: JsonObject) -> None:
        if meta.labels(old) != meta.labels(new):
            self._pod_changed(old)
        elif service_pods.facts(old) == service_pods.facts(new):
            return
        self._pod_changed(new)

    async def reconcile(self, key: str) -> float | None:
        service, current = self._services.get(key), self._endpoints.get(key)
        if service is None:
            managed = current is not None and meta.labels(current).get(MANAGED_BY_LABEL) == MANAGER
            if current is not None and (managed or key in self._without_service):
                await self._delete(current)
            self._without_service.pop(key, None)
            return None
        if meta.is_deleting(service) or not service_pods.selector_pairs(service):
            return None
        pods = service_pods.pods_of(service, self._pods)
        wanted = build(service, pods)
        time = self._times.look(service, pods)
        if current is None:
            wanted["metadata"]["annotations"] = annotated(meta.annotations(wanted), time)
            try:
                await self.writer(ENDPOINTS).create(wanted)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
                return 1.0
            return None
        if _same(current, wanted):
            return None
        annotations = {name: text for name, text in meta.annotations(current).items() if name != OVER_CAPACITY}
        metadata = {
            **meta.metadata(current),
            "labels": meta.labels(wanted),
            "annotations": annotated({**annotations, **meta.annotations(wanted)}, time),
        }
        await self.writer(ENDPOINTS).update({**current, "metadata": metadata, "subsets": wanted["subsets"]})
        return None

    async def _delete(self, endpoints: JsonObject) -> None:
        try:
            await self.writer(ENDPOINTS).delete(
                meta.name(endpoints), namespace=meta.namespace(endpoints), uid=meta.uid(endpoints)
            )
        except ApiError as error:
            if error.code != 404:
                raise


def _same(current: JsonObject, wanted: JsonObject) -> bool:
    return (
        same(current.get("subsets"), wanted["subsets"])
        and meta.labels(current) == meta.labels(wanted)
        and meta.annotations(current).get(OVER_CAPACITY) == meta.annotations(wanted).get(OVER_CAPACITY)
    )


def build(service: JsonObject, pods: Iterable[JsonObject]) -> JsonObject:
    """The whole object, of the Service's first address family."""
    family = service_pods.families(service)[0]
    anyway = bool(meta.spec(service).get("publishNotReadyAddresses"))
    portless = service_pods.is_headless(service) and not meta.spec(service).get("ports")
    groups: dict[tuple[service_pods.Port, ...], tuple[list[JsonObject], list[JsonObject]]] = {}
    count = {True: 0, False: 0}
    shown = []
    for pod in pods:
        address = service_pods.address(pod, family)
        ports = service_pods.ports(service, pod)
        if address and (ports or portless) and service_pods.belongs(pod, include_terminating=anyway):
            shown.append((anyway or podlib.is_ready(pod), ports, _address(service, pod, address)))
            count[shown[-1][0]] += 1
    kept_ready, kept_unready = _capacity(count[True], count[False])
    for ready, ports, entry in sorted(shown, key=lambda item: str(item[2]["ip"])):
        kept = kept_ready if ready else kept_unready
        lists = groups.setdefault(tuple(sorted(ports)), ([], []))
        side = lists[0] if ready else lists[1]
        if sum(len(each[0 if ready else 1]) for each in groups.values()) < kept:
            side.append(entry)
    subsets = []
    for ports, (ready_list, unready_list) in sorted(groups.items()):
        subset: JsonObject = {}
        if ready_list:
            subset["addresses"] = ready_list
        if unready_list:
            subset["notReadyAddresses"] = unready_list
        if ports:
            subset["ports"] = [{name: value for name, value in port.as_json().items() if value} for port in ports]
        if ready_list or unready_list:
            subsets.append(subset)
    return _object(service, subsets, truncated=count[True] + count[False] > MAX_ADDRESSES)


def _object(service: JsonObject, subsets: list[JsonObject], *, truncated: bool) -> JsonObject:
    labels = {**meta.labels(service), MANAGED_BY_LABEL: MANAGER}
    labels.pop(HEADLESS_LABEL, None)
    if service_pods.is_headless(service):
        labels[HEADLESS_LABEL] = ""
    metadata: JsonObject = {"name": meta.name(service), "namespace": meta.namespace(service), "labels": labels}
    if truncated:
        metadata["annotations"] = {OVER_CAPACITY: "truncated"}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}


def _capacity(ready: int, unready: int) -> tuple[int, int]:
    """How many of each are shown: together at most 1,000, ready ones first."""
    kept = min(ready, MAX_ADDRESSES)
    return kept, min(unready, MAX_ADDRESSES - kept)


def _address(service: JsonObject, pod: JsonObject, ip: str) -> JsonObject:
    result: JsonObject = {"ip": ip, "targetRef": service_pods.target_reference(pod)}
    if meta.spec(pod).get("nodeName"):
        result["nodeName"] = meta.spec(pod)["nodeName"]
    hostname = service_pods.hostname(service, pod)
    if hostname:
        result["hostname"] = hostname
    return result
