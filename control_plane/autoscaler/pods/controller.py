"""HorizontalPodAutoscaler: sets a workload's replicas by its metrics, every sync period.

The rules are in `replicas` (how many a metric asks for) and `behavior` (how fast); this reads, decides and writes.
Source: pkg/controller/podautoscaler/horizontal.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from argosy.client import Resource
from argosy.controller import LABEL_INDEX, Context, Controller, ResourceName, by_labels
from argosy.kinds.horizontal_pod_autoscaler import SOURCES
from argosy.objects import meta, quantity, selectors
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.selection import selected
from control_plane.autoscaler.config import Config
from control_plane.autoscaler.pods.behavior import Defaults, History, normalise, tolerances
from control_plane.autoscaler.pods.replicas import (
    CalculationError,
    Proposal,
    Readiness,
    Tolerances,
    by_average,
    by_utilization,
    by_value,
    by_value_per_pod,
)
from control_plane.autoscaler.pods.sources import ApiMetrics, Metrics
from control_plane.autoscaler.pods.status import Status, current_metric
from control_plane.autoscaler.statuses import write_status
from control_plane.autoscaler.targets import UnknownKind, resource_of

AUTOSCALERS = ResourceName("autoscaling", "v2", "horizontalpodautoscalers")
PODS = ResourceName("", "v1", "pods")


@dataclass(frozen=True)
class Target:
    """What is scaled, as one look found it."""

    resource: Resource
    scale: JsonObject
    selector: selectors.Selector
    pods: list[JsonObject]

    @property
    def replicas(self) -> int:
        return int(meta.spec(self.scale).get("replicas") or 0)


class HorizontalPodAutoscalerController(Controller[Config]):
    name = "horizontal-pod-autoscaler"
    watches = (AUTOSCALERS, PODS)
    writes = (AUTOSCALERS,)
    metrics_source: ClassVar[type[ApiMetrics]] = ApiMetrics

    def __init__(self, context: Context[Config]) -> None:
        super().__init__(context)
        config = self.config
        self._autoscalers = self.informer(AUTOSCALERS)
        self._pods = self.informer(PODS)
        self._pods.add_index(LABEL_INDEX, by_labels)
        self._metrics: Metrics = self.metrics_source(context.client, self.host.clock, config.metrics_max_age)
        self._histories: dict[str, History] = {}
        self._selectors: dict[str, selectors.Selector] = {}
        self._defaults = Defaults(
            config.horizontal_pod_autoscaler_downscale_stabilization, config.horizontal_pod_autoscaler_tolerance
        )
        self._readiness = Readiness(
            config.horizontal_pod_autoscaler_cpu_initialization_period,
            config.horizontal_pod_autoscaler_initial_readiness_delay,
        )
        self._autoscalers.add_handler(added=self.enqueue, updated=self._changed, deleted=self._gone)

    @property
    def workers(self) -> int:
        return self.config.concurrent_horizontal_pod_autoscaler_syncs

    def _changed(self, old: JsonObject, new: JsonObject) -> None:
        # Its own writes of status are no reason to look again before the period is over.
        if meta.spec(old) != meta.spec(new):
            self.enqueue(new)

    def _gone(self, obj: JsonObject) -> None:
        self._histories.pop(meta.key(obj), None)
        self._selectors.pop(meta.key(obj), None)

    async def reconcile(self, key: str) -> float | None:
        autoscaler = self._autoscalers.get(key)
        if autoscaler is None or meta.is_deleting(autoscaler):
            return None
        status = Status(autoscaler, self.host.clock.now())
        try:
            await self._scale(key, autoscaler, status)
        finally:
            await write_status(self.writer(AUTOSCALERS), autoscaler, status.result())
        return self.config.horizontal_pod_autoscaler_sync_period

    async def _scale(self, key: str, autoscaler: JsonObject, status: Status) -> None:
        target = await self._target(key, autoscaler, status)
        if target is None:
            return
        spec = meta.spec(autoscaler)
        least, most = int(spec.get("minReplicas") or 1), int(spec["maxReplicas"])
        behavior = spec.get("behavior")
        current = target.replicas
        history = self._histories.setdefault(key, History())
        now_s = self.host.clock.now()
        if not history.recommendations:
            history.recommendations.append((now_s, current))
        status.current = current
        if current == 0:
            message = "scaling is disabled since the replica count of the target is zero"
            status.condition("ScalingActive", False, "ScalingDisabled", message)
            status.desired = 0
            return
        if current > most or current < least:
            wanted = most if current > most else least
            side = "above Spec.MaxReplicas" if current > most else "below Spec.MinReplicas"
            reason = f"Current number of replicas {side}"
        else:
            found = await self._measure(autoscaler, target, status)
            if found is None:
                return
            proposal, metric = found
            reason = f"{metric} above target" if proposal > current else "All metrics below target"
            verdict = normalise(current, proposal, (least, most), behavior, history, self._defaults, now_s)
            status.condition("AbleToScale", True, verdict.able_reason, verdict.able_message)
            status.condition("ScalingLimited", verdict.limited, verdict.limited_reason, verdict.limited_message)
            wanted = verdict.replicas
        status.desired = wanted
        if wanted != current:
            await self._rescale(autoscaler, target, wanted, reason, status, history)

    async def _target(self, key: str, autoscaler: JsonObject, status: Status) -> Target | None:
        reference = meta.spec(autoscaler)["scaleTargetRef"]
        space = meta.namespace(autoscaler)
        try:
            resource = await resource_of(self._client, reference)
            scale = await resource.get(str(reference["name"]), namespace=space, subresource="scale")
        except (ApiError, UnknownKind) as error:
            said = error.message if isinstance(error, ApiError) else str(error)
            self.events.event(autoscaler, "Warning", "FailedGetScale", said)
            text = f"the HPA controller was unable to get the target's current scale: {said}"
            status.condition("AbleToScale", False, "FailedGetScale", text)
            return None
        text = "the HPA controller was able to get the target's current scale"
        status.condition("AbleToScale", True, "SucceededGetScale", text)
        text = str(meta.status(scale).get("selector") or "")
        if not text:
            self.events.event(autoscaler, "Warning", "SelectorRequired", "selector is required")
            message = "the HPA target's scale is missing a selector"
            status.condition("ScalingActive", False, "InvalidSelector", message)
            return None
        try:
            selector = selectors.parse(text)
        except selectors.SelectorError as error:
            message = f"couldn't convert selector into a corresponding internal selector object: {error}"
            self.events.event(autoscaler, "Warning", "InvalidSelector", message)
            status.condition("ScalingActive", False, "InvalidSelector", message)
            return None
        self._selectors[key] = selector
        pods = selected(self._pods, space, selector)
        rivals = self._rivals(key, space, pods)
        if rivals:
            message = f"pods by selector {text} are controlled by multiple HPAs: {' '.join([key, *rivals])}"
            self.events.event(autoscaler, "Warning", "AmbiguousSelector", message)
            status.condition("ScalingActive", False, "AmbiguousSelector", message)
            return None
        return Target(resource, scale, selector, pods)

    def _rivals(self, key: str, namespace: str, pods: list[JsonObject]) -> list[str]:
        """Other autoscalers of the namespace that select some of these pods."""
        prefix = f"{namespace}/"
        return [
            other
            for other, selector in self._selectors.items()
            if other != key and other.startswith(prefix) and any(selector.matches(meta.labels(pod)) for pod in pods)
        ]

    async def _measure(self, autoscaler: JsonObject, target: Target, status: Status) -> tuple[int, str] | None:
        """The largest number that a metric asks for, and which; None when none could be told, or only fewer pods
        while some could not."""
        metrics = meta.spec(autoscaler).get("metrics") or []
        allowed = tolerances(meta.spec(autoscaler).get("behavior"), self._defaults)
        seen: list[JsonObject] = []
        best: tuple[int, str] | None = None
        failures: list[tuple[str, str]] = []
        for metric in metrics:
            field = SOURCES[metric["type"]]
            try:
                proposal, name = await self._propose(autoscaler, metric["type"], metric[field], target, allowed)
            except CalculationError as error:
                failures.append((f"FailedGet{metric['type']}Metric", str(error)))
                self.events.event(autoscaler, "Warning", failures[-1][0], failures[-1][1])
                continue
            seen.append(current_metric(metric, field, proposal))
            if best is None or proposal.replicas > best[0]:
                best = (proposal.replicas, name)
        status.metrics = seen
        if failures and (best is None or best[0] < target.replicas):
            reason, message = failures[0]
            status.condition(
                "ScalingActive", False, reason, f"the HPA was unable to compute the replica count: {message}"
            )
            counts = f"invalid metrics ({len(failures)} invalid out of {len(metrics)}), first error is: {message}"
            self.events.event(autoscaler, "Warning", "FailedComputeMetricsReplicas", counts)
            return None
        if best is None:
            return None
        message = f"the HPA was able to successfully calculate a replica count from {best[1]}"
        status.condition("ScalingActive", True, "ValidMetricFound", message)
        return best

    async def _propose(
        self, autoscaler: JsonObject, kind: str, source: JsonObject, target: Target, allowed: Tolerances
    ) -> tuple[Proposal, str]:
        """Raises CalculationError."""
        space, selector, current = meta.namespace(autoscaler), str(target.selector), target.replicas
        wanted = source["target"]
        now_s = self.host.clock.now()
        if kind in ("Resource", "ContainerResource"):
            return await self._by_resource(space, source, target, allowed)
        metric = source["metric"]
        labels = str(selectors.from_object(metric["selector"])) if metric.get("selector") else ""
        per_pod = wanted.get("averageValue")
        if kind == "Pods":
            samples = await self._metrics.of_pods(space, selector, metric["name"], labels)
            milli = quantity.milli(per_pod)
            proposal = by_average(current, milli, "", target.pods, samples, allowed, self._readiness, now_s)
            return proposal, f"pods metric {metric['name']}"
        if kind == "Object":
            described = source["describedObject"]
            try:
                found = await resource_of(self._client, described)
            except UnknownKind as error:
                raise CalculationError(str(error)) from None
            qualified = f"{found.plural}.{found.group}" if found.group else found.plural
            usage = await self._metrics.of_object(space, qualified, str(described["name"]), metric["name"], labels)
            name = f"{described['kind']} metric {metric['name']}"
        else:
            usage = await self._metrics.external(space, metric["name"], labels)
            name = f"external metric {metric['name']}({labels})"
        if per_pod is not None:
            running = int(meta.status(target.scale).get("replicas") or 0)
            proposal = by_value_per_pod(running or current, quantity.milli(per_pod), usage, allowed)
        else:
            proposal = by_value(current, quantity.milli(wanted["value"]), usage, target.pods, allowed)
        return proposal, name

    async def _by_resource(
        self, namespace: str, source: JsonObject, target: Target, allowed: Tolerances
    ) -> tuple[Proposal, str]:
        name, container = str(source["name"]), str(source.get("container") or "")
        wanted, now_s = source["target"], self.host.clock.now()
        shown = f"{name} container resource" if container else f"{name} resource"
        percent = wanted.get("averageUtilization")
        try:
            samples = await self._metrics.resource(namespace, str(target.selector), name, container)
            if percent is None:
                milli = quantity.milli(wanted["averageValue"])
                return (
                    by_average(target.replicas, milli, name, target.pods, samples, allowed, self._readiness, now_s),
                    shown,
                )
            proposal = by_utilization(
                target.replicas, percent, name, container, target.pods, samples, allowed, self._readiness, now_s
            )
        except CalculationError as error:
            what = "usage" if percent is None else "utilization"
            raise CalculationError(f"failed to get {name} {what}: {error}") from None
        return proposal, f"{shown} utilization (percentage of request)"

    async def _rescale(
        self, autoscaler: JsonObject, target: Target, wanted: int, reason: str, status: Status, history: History
    ) -> None:
        scale = {**target.scale, "spec": {**meta.spec(target.scale), "replicas": wanted}}
        try:
            await target.resource.update(scale, subresource="scale")
        except ApiError as error:
            said = f"New size: {wanted}; reason: {reason}; error: {error.message}"
            self.events.event(autoscaler, "Warning", "FailedRescale", said)
            text = f"the HPA controller was unable to update the target scale: {error.message}"
            status.condition("AbleToScale", False, "FailedUpdateScale", text)
            status.desired = target.replicas
            return
        history.changed(target.replicas, wanted, self.host.clock.now())
        status.scaled = True
        text = f"the HPA controller was able to update the target scale to {wanted}"
        status.condition("AbleToScale", True, "SucceededRescale", text)
        self.events.event(autoscaler, "Normal", "SuccessfulRescale", f"New size: {wanted}; reason: {reason}")
