"""What the metrics APIs answer, path by path: metrics.k8s.io, custom.metrics.k8s.io and external.metrics.k8s.io.

Only reading; who may is settled before (`control_plane.metrics.server`). Tables are made by `kubectl top` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from argosy.objects import meta, selectors
from argosy.objects import status as errors
from argosy.objects.selectors import Selector
from argosy.objects.types import JsonObject
from control_plane.metrics.adapter.service import CUSTOM, EXTERNAL, Adapter, CustomTarget
from control_plane.metrics.objects import node_metrics, pod_metrics
from control_plane.metrics.window import Window

RESOURCE: Final = "metrics.k8s.io"
VERSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    RESOURCE: ("v1beta1",),
    CUSTOM: ("v1beta2", "v1beta1"),
    EXTERNAL: ("v1beta1",),
}
"""By group, preferred first."""
_READ: Final = ["get", "list"]

Objects = Callable[[str], Iterable[JsonObject]]
"""The objects of a namespace; of all with an empty one."""


@dataclass(frozen=True)
class Action:
    """What a request wants, as a SubjectAccessReview names it."""

    group: str
    version: str
    verb: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class MetricsApi:
    """`get_pod` and `get_node` look one up by key."""

    def __init__(
        self,
        window: Window,
        pods: Objects,
        nodes: Objects,
        get_pod: Callable[[str], JsonObject | None],
        get_node: Callable[[str], JsonObject | None],
        adapter: Adapter,
    ) -> None:
        self._window = window
        self._pods = pods
        self._nodes = nodes
        self._get_pod = get_pod
        self._get_node = get_node
        self._adapter = adapter

    def resources(self, group: str) -> list[JsonObject]:
        """The APIResources of a group."""
        if group == CUSTOM:
            return self._adapter.resources()
        if group == EXTERNAL:
            return self._adapter.external_resources()
        return [
            {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": _READ},
            {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": _READ},
        ]

    async def answer(self, action: Action, query: Mapping[str, str]) -> JsonObject:
        """Raises ApiError."""
        labels = _selector(query, "labelSelector")
        if action.group == RESOURCE:
            return self._measured(action, labels)
        if action.group == EXTERNAL:
            return await self._adapter.external(action.namespace, action.resource, labels)
        target = CustomTarget(action.namespace, action.resource, action.name)
        return await self._adapter.custom(
            action.version, target, action.subresource, labels, _selector(query, "metricLabelSelector")
        )

    def _measured(self, action: Action, labels: Selector) -> JsonObject:
        if action.resource == "nodes":
            return self._node(action.name) if action.name else self._node_list(labels)
        if action.resource == "pods":
            if action.name:
                return self._pod(action.namespace, action.name)
            return self._pod_list(action.namespace, labels)
        raise errors.status_error(404, "NotFound", "the server could not find the requested resource")

    def _node(self, name: str) -> JsonObject:
        node, usage = self._get_node(name), self._window.nodes.get(name)
        if node is None or usage is None:
            raise errors.not_found(RESOURCE, "nodes", name)
        return node_metrics(node, usage)

    def _node_list(self, labels: Selector) -> JsonObject:
        items = [
            node_metrics(node, usage)
            for node in self._nodes("")
            if labels.matches(meta.labels(node)) and (usage := self._window.nodes.get(meta.name(node))) is not None
        ]
        return _list("NodeMetricsList", items)

    def _pod(self, namespace: str, name: str) -> JsonObject:
        pod, usage = self._get_pod(f"{namespace}/{name}"), self._window.pod(namespace, name)
        if pod is None or not usage:
            raise errors.not_found(RESOURCE, "pods", f"{namespace}/{name}")
        return pod_metrics(pod, usage)

    def _pod_list(self, namespace: str, labels: Selector) -> JsonObject:
        items = [
            pod_metrics(pod, usage)
            for pod in self._pods(namespace)
            if labels.matches(meta.labels(pod)) and (usage := self._window.pod(meta.namespace(pod), meta.name(pod)))
        ]
        return _list("PodMetricsList", items)


def action_of(path: str) -> Action | None:
    """What a path below /apis/GROUP/VERSION/ asks for; None when it is no resource's.

    namespaces/NS/pods[/NAME] · nodes[/NAME] · pods                        metrics.k8s.io
    [namespaces/NS/]RESOURCE/NAME/METRIC · namespaces/NS/metrics/METRIC    custom.metrics.k8s.io
    namespaces/NS/METRIC                                                   external.metrics.k8s.io
    """
    parts = path.strip("/").split("/")
    if len(parts) < 4 or parts[0] != "apis" or parts[2] not in VERSIONS.get(parts[1], ()):
        return None
    group, version, rest = parts[1], parts[2], parts[3:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    if group == EXTERNAL:
        return Action(group, version, "list", rest[0], namespace=namespace) if namespace and len(rest) == 1 else None
    if group == CUSTOM:
        if namespace and len(rest) == 2 and rest[0] == "metrics":
            return Action(group, version, "get", "namespaces", rest[1], name=namespace)
        if len(rest) != 3:
            return None
        return Action(group, version, "get", rest[0], rest[2], namespace, rest[1])
    if len(rest) > 2 or (rest[0] == "pods" and len(rest) == 2 and not namespace):
        return None
    name = rest[1] if len(rest) == 2 else ""
    return Action(group, version, "get" if name else "list", rest[0], namespace=namespace, name=name)


def _selector(query: Mapping[str, str], name: str) -> Selector:
    try:
        return selectors.parse(query.get(name, ""))
    except selectors.SelectorError as error:
        raise errors.bad_request(f"unable to parse {name}: {error}") from None


def _list(kind: str, items: list[JsonObject]) -> JsonObject:
    return {"kind": kind, "apiVersion": f"{RESOURCE}/v1beta1", "metadata": {}, "items": items}
