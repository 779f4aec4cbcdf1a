"""EndpointSlice: the addresses behind each Service, in slices that proxies and DNS watch.

Upstream: `pkg/controller/endpointslice/`. Which slices change is decided in slice_plan.py.
"""

from __future__ import annotations

from functools import partial

from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.controllers import pods as podlib
from control_plane.controllers import service_pods, slice_plan
from control_plane.controllers.base import (
    ENDPOINT_SLICES,
    LABEL_INDEX,
    NODE_INDEX,
    NODES,
    PODS,
    SERVICES,
    Context,
    Controller,
    by_labels,
    by_node,
)
from control_plane.controllers.trigger_times import TriggerTimes, annotated

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS_LABEL = "service.kubernetes.io/headless"
ZONE_LABEL = "topology.kubernetes.io/zone"
SAME_ZONE = ("PreferSameZone", "PreferClose")
SAME_NODE = "PreferSameNode"
SERVICE_INDEX = "service"
CHECK_AGAIN_S = 1.0


def owner_key(manager: str, slice_: JsonObject) -> list[str]:
    """For an index: `namespace/name` of the Service or Endpoints whose slice it is, if that manager made it."""
    labels = meta.labels(slice_)
    if labels.get(MANAGED_BY_LABEL) != manager or SERVICE_LABEL not in labels:
        return []
    return [f"{meta.namespace(slice_)}/{labels[SERVICE_LABEL]}"]


class EndpointSliceController(Controller):
    name = "endpointslice-controller"
    watches = (SERVICES, PODS, ENDPOINT_SLICES, NODES)
    writes = (ENDPOINT_SLICES,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services = self.informer(SERVICES)
        self._pods = self.informer(PODS)
        self._slices = self.informer(ENDPOINT_SLICES)
        self._nodes = self.informer(NODES)
        self._services.add_index(service_pods.SELECTOR_INDEX, service_pods.by_selector)
        self._pods.add_index(LABEL_INDEX, by_labels)
        self._pods.add_index(NODE_INDEX, by_node)
        self._slices.add_index(SERVICE_INDEX, partial(owner_key, MANAGER))
        self._times = TriggerTimes()
        self.enqueue_changes(self._services)
        self._services.add_handler(deleted=lambda service: self._times.forget(meta.key(service)))
        self._pods.add_handler(added=self._pod_changed, updated=self._pod_updated, deleted=self._pod_changed)
        self._slices.add_handler(
            added=self._slice_changed, updated=lambda _old, new: self._slice_changed(new), deleted=self._slice_changed
        )
        self._nodes.add_handler(added=self._node_changed, updated=self._node_updated, deleted=self._node_changed)

    @property
    def workers(self) -> int:
        return self.config.concurrent_service_endpoint_syncs

    def _pod_changed(self, pod: JsonObject) -> None:
        for service in service_pods.services_of(pod, self._services):
            self.enqueue(service)

    def _pod_updated(self, old: JsonObject, new: JsonObject) -> None:
        if meta.labels(old) != meta.labels(new):
            self._pod_changed(old)
        elif service_pods.facts(old) == service_pods.facts(new):
            return
        self._pod_changed(new)

    def _slice_changed(self, slice_: JsonObject) -> None:
        for key in owner_key(MANAGER, slice_):
            self.queue.add(key)

    def _node_updated(self, old: JsonObject, new: JsonObject) -> None:
        if meta.labels(old).get(ZONE_LABEL) != meta.labels(new).get(ZONE_LABEL):
            self._node_changed(new)

    def _node_changed(self, node: JsonObject) -> None:
        """Pods of an unknown node are not shown, and its zone is their endpoints'."""
        for pod in self._pods.by_index(NODE_INDEX, meta.name(node)):
            self._pod_changed(pod)

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get(key)
        if service is None or meta.is_deleting(service):
            return None
        if not service_pods.selector_pairs(service):
            return None
        if self.is_behind(key):
            return CHECK_AGAIN_S
        mine = [each for each in self._slices.by_index(SERVICE_INDEX, key) if not meta.is_deleting(each)]
        labels = slice_labels(service)
        families = service_pods.families(service)
        pods = service_pods.pods_of(service, self._pods)
        time = self._times.look(service, pods)
        for family in families:
            existing = [each for each in mine if each.get("addressType") == family]
            steps = slice_plan.plan(
                existing, self._wanted(service, pods, family), family, self.config.max_endpoints_per_slice
            )
            planned = [meta.name(each) for each in [*steps.update, *steps.delete]]
            for each in existing:
                if meta.name(each) not in planned and not slice_plan.same_labels(each, labels):
                    steps.update.append(each)
            await self._carry_out(key, service, labels, steps, time)
        for each in mine:
            if each.get("addressType") not in families:
                await self._delete(each)
        return None

    def _wanted(self, service: JsonObject, pods: list[JsonObject], family: str) -> slice_plan.Wanted:
        """A pod on a node that does not exist (any more) takes no traffic, unless unready ones do too."""
        anyway = bool(meta.spec(service).get("publishNotReadyAddresses"))
        wanted: dict[slice_plan.Ports, dict[str, JsonObject]] = {}
        for pod in pods:
            address = service_pods.address(pod, family)
            if address and service_pods.belongs(pod, include_terminating=True):
                ports = service_pods.ports(service, pod)
                name = meta.spec(pod).get("nodeName", "")
                node = self._nodes.get(name)
                if name and node is None and not anyway:
                    continue
                zone = meta.labels(node).get(ZONE_LABEL, "") if node is not None else ""
                wanted.setdefault(ports, {})[meta.uid(pod)] = endpoint(service, pod, address, zone)
        return wanted

    async def _carry_out(
        self, key: str, service: JsonObject, labels: dict[str, str], steps: slice_plan.Plan, time: str
    ) -> None:
        writer = self.writer(ENDPOINT_SLICES)
        for body in steps.create:
            metadata = {
                "generateName": f"{meta.name(service)}-",
                "namespace": meta.namespace(service),
                "labels": labels,
                "ownerReferences": [meta.owner_reference(service)],
                "annotations": annotated({}, time),
            }
            slice_ = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, **body}
            self.wrote(key, ENDPOINT_SLICES, await writer.create(slice_))
        for each in steps.update:
            annotations = annotated(meta.annotations(each), time)
            changed = {**each, "metadata": {**meta.metadata(each), "labels": labels, "annotations": annotations}}
            self.wrote(key, ENDPOINT_SLICES, await writer.update(changed))
        for each in steps.delete:
            await self._delete(each)

    async def _delete(self, slice_: JsonObject) -> None:
        try:
            await self.writer(ENDPOINT_SLICES).delete(
                meta.name(slice_), namespace=meta.namespace(slice_), uid=meta.uid(slice_)
            )
        except ApiError as error:
            if error.code != 404:
                raise


def slice_labels(service: JsonObject) -> dict[str, str]:
    """The service's own labels and the controller's."""
    reserved = (SERVICE_LABEL, MANAGED_BY_LABEL, HEADLESS_LABEL)
    labels = {key: value for key, value in meta.labels(service).items() if key not in reserved}
    labels |= {SERVICE_LABEL: meta.name(service), MANAGED_BY_LABEL: MANAGER}
    if service_pods.is_headless(service):
        labels[HEADLESS_LABEL] = ""
    return labels


def endpoint(service: JsonObject, pod: JsonObject, address: str, zone: str) -> JsonObject:
    """One endpoint. `serving` is the pod's readiness; `ready` is that while it is not terminating."""
    serving, terminating = podlib.is_ready(pod), meta.is_deleting(pod)
    anyway = bool(meta.spec(service).get("publishNotReadyAddresses"))
    result: JsonObject = {
        "addresses": [address],
        "conditions": {
            "ready": anyway or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": service_pods.target_reference(pod),
    }
    if meta.spec(pod).get("nodeName"):
        result["nodeName"] = meta.spec(pod)["nodeName"]
    if zone:
        result["zone"] = zone
    hostname = service_pods.hostname(service, pod)
    if hostname:
        result["hostname"] = hostname
    hints = _hints(service, result)
    if hints:
        result["hints"] = hints
    return result


def _hints(service: JsonObject, endpoint: JsonObject) -> JsonObject:
    """For whom a ready endpoint is near, where the Service prefers near ones (KEP-4444, KEP-3015)."""
    wish = meta.spec(service).get("trafficDistribution")
    if wish not in (*SAME_ZONE, SAME_NODE) or not endpoint["conditions"]["ready"]:
        return {}
    hints: JsonObject = {}
    if endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if wish == SAME_NODE and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return hints
