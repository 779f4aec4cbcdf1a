"""What the metrics APIs answer, path by path: metrics.k8s.io, custom.metrics.k8s.io and external.metrics.k8s.io.

Only reading; who may is settled before, by `control_plane.aggregated`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, overload

from argosy.kinds.kind import NAME_COLUMN, Column
from argosy.objects import meta, quantity, selectors
from argosy.objects import status as errors
from argosy.objects.selectors import Selector
from argosy.objects.types import JsonObject
from control_plane.aggregated.calls import ApiResource, Call, GroupVersion
from control_plane.metrics.adapter.service import CUSTOM, EXTERNAL, Adapter, CustomTarget
from control_plane.metrics.objects import node_metrics, pod_metrics
from control_plane.metrics.window import Window

RESOURCE: Final = "metrics.k8s.io"
Objects = Callable[[str], Iterable[JsonObject]]
"""The objects of a namespace; of all with an empty one."""


class Listed(Sequence[ApiResource]):
    """A group's resources as they are at the moment: which metrics there are changes while it runs."""

    def __init__(self, now: Callable[[], Sequence[ApiResource]]) -> None:
        self._now = now

    def __len__(self) -> int:
        return len(self._now())

    @overload
    def __getitem__(self, index: int) -> ApiResource: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ApiResource]: ...
    def __getitem__(self, index: int | slice) -> ApiResource | Sequence[ApiResource]:
        return self._now()[index]


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

    def groups(self) -> list[GroupVersion]:
        """What is served, for discovery; preferred versions first."""
        adapter = self._adapter
        return [
            GroupVersion(
                RESOURCE,
                "v1beta1",
                (
                    ApiResource("nodes", "NodeMetrics", namespaced=False, columns=(NAME_COLUMN, *_USAGE)),
                    ApiResource("pods", "PodMetrics", columns=(NAME_COLUMN, *_USAGE)),
                ),
            ),
            *(
                GroupVersion(CUSTOM, version, Listed(adapter.resources), any_resource=True)
                for version in ("v1beta2", "v1beta1")
            ),
            GroupVersion(EXTERNAL, "v1beta1", Listed(adapter.external_resources), any_resource=True),
        ]

    async def answer(self, call: Call) -> JsonObject:
        """Raises ApiError."""
        if call.verb not in ("get", "list"):
            message = "the server does not allow this method on the requested resource"
            raise errors.status_error(405, "MethodNotAllowed", message)
        labels = _selector(call, "labelSelector")
        if call.group == RESOURCE:
            return self._measured(call, labels)
        if call.group == EXTERNAL:
            if not call.namespace or call.name:
                raise _missing()
            return await self._adapter.external(call.namespace, call.resource, labels)
        if call.namespace and call.resource == "metrics":
            # namespaces/NS/metrics/METRIC: a metric of the namespace itself.
            target, metric = CustomTarget("", "namespaces", call.namespace), call.name
        else:
            target, metric = CustomTarget(call.namespace, call.resource, call.name), call.subresource
        if not metric:
            raise _missing()
        return await self._adapter.custom(
            call.version, target, metric, labels, _selector(call, "metricLabelSelector")
        )

    def _measured(self, call: Call, labels: Selector) -> JsonObject:
        if call.resource == "nodes":
            return self._node(call.name) if call.name else self._node_list(labels)
        if call.resource == "pods":
            if call.name:
                return self._pod(call.namespace, call.name)
            return self._pod_list(call.namespace, labels)
        raise _missing()

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


def _selector(call: Call, name: str) -> Selector:
    try:
        return selectors.parse(call.option(name))
    except selectors.SelectorError as error:
        raise errors.bad_request(f"unable to parse {name}: {error}") from None


def _missing() -> errors.ApiError:
    return errors.status_error(404, "NotFound", "the server could not find the requested resource")


def _used(resource: str) -> Callable[[JsonObject, float], object]:
    """The usage of a NodeMetrics, or of all containers of a PodMetrics."""

    def value(obj: JsonObject, _now: float) -> str:
        parts = obj.get("containers") or [obj]
        total = "0"
        for part in parts:
            total = quantity.add(total, (part.get("usage") or {}).get(resource, "0"))
        return total

    return value


_USAGE: Final = (
    Column("CPU", _used("cpu"), description="Cores used."),
    Column("Memory", _used("memory"), description="Working set."),
    Column("Window", lambda obj, _now: str(obj.get("window", "")), description="Over how long it was measured."),
)


def _list(kind: str, items: list[JsonObject]) -> JsonObject:
    return {"kind": kind, "apiVersion": f"{RESOURCE}/v1beta1", "metadata": {}, "items": items}
