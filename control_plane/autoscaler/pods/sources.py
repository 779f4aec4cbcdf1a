"""Where metrics come from: the aggregated APIs metrics.k8s.io, custom.metrics.k8s.io and external.metrics.k8s.io.

A source that is away, or whose answer makes no sense (negative, not a number, older than `max_age_s`), is an error
with a reason, never a number: the autoscaler holds and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import quote, urlencode

from argosy.client import Client
from argosy.host import Clock, parse_rfc3339
from argosy.objects import durations, meta, quantity
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.autoscaler.pods.replicas import CalculationError, Sample

RESOURCE_METRICS: Final = ("metrics.k8s.io", "v1beta1", "pods")
CUSTOM_METRICS: Final = "/apis/custom.metrics.k8s.io/v1beta2"
EXTERNAL_METRICS: Final = "/apis/external.metrics.k8s.io/v1beta1"
DEFAULT_WINDOW_S: Final = 60.0


class Metrics(Protocol):
    """Every call raises CalculationError with what is wrong."""

    async def resource(self, namespace: str, selector: str, resource: str, container: str) -> dict[str, Sample]:
        """By pod; of one container where `container` is given."""

    async def of_pods(self, namespace: str, selector: str, metric: str, labels: str) -> dict[str, Sample]: ...

    async def of_object(self, namespace: str, resource: str, name: str, metric: str, labels: str) -> int:
        """In thousandths. `resource` is `deployments.apps`, `services`, …"""

    async def external(self, namespace: str, metric: str, labels: str) -> int:
        """The sum over all series, in thousandths."""


class ApiMetrics:
    """Reads them through the API server."""

    def __init__(self, client: Client, clock: Clock, max_age_s: float = 300.0) -> None:
        self._client = client
        self._clock = clock
        self._max_age_s = max_age_s

    async def resource(self, namespace: str, selector: str, resource: str, container: str) -> dict[str, Sample]:
        problem = f"unable to get metrics for resource {resource}: "
        try:
            found = await self._client.resource(*RESOURCE_METRICS).list(namespace=namespace, labels=selector)
        except ApiError as error:
            raise CalculationError(
                f"{problem}unable to fetch metrics from resource metrics API: {error.message}"
            ) from None
        result: dict[str, Sample] = {}
        for item in found.items:
            at_s = _time(item.get("timestamp"))
            if self._is_stale(at_s):
                continue
            usage = _usage(item, resource, container, problem)
            if usage is not None:
                result[meta.name(item)] = Sample(usage, at_s, _window(item.get("window")))
        if not result:
            raise CalculationError(f"{problem}no metrics returned from resource metrics API")
        return result

    async def of_pods(self, namespace: str, selector: str, metric: str, labels: str) -> dict[str, Sample]:
        problem = f"unable to get metric {metric}: "
        query = {"labelSelector": selector, **({"metricLabelSelector": labels} if labels else {})}
        path = f"{CUSTOM_METRICS}/namespaces/{quote(namespace)}/pods/*/{quote(metric)}?{urlencode(query)}"
        items = await self._values(path, f"{problem}unable to fetch metrics from custom metrics API: ")
        result = {}
        for item in items:
            at_s = _time(item.get("timestamp"))
            if self._is_stale(at_s):
                continue
            seconds = item.get("windowSeconds")
            window_s = float(seconds) if isinstance(seconds, int) and seconds > 0 else DEFAULT_WINDOW_S
            result[str((item.get("describedObject") or {}).get("name"))] = Sample(
                _sensible(item.get("value"), problem), at_s, window_s
            )
        if not result:
            raise CalculationError(f"{problem}no metrics returned from custom metrics API")
        return result

    async def of_object(self, namespace: str, resource: str, name: str, metric: str, labels: str) -> int:
        problem = f"unable to get metric {metric}: {resource} on {namespace} {name}/"
        query = f"?{urlencode({'metricLabelSelector': labels})}" if labels else ""
        path = f"{CUSTOM_METRICS}/namespaces/{quote(namespace)}/{resource}/{quote(name)}/{quote(metric)}{query}"
        items = await self._values(path, f"{problem}unable to fetch metrics from custom metrics API: ")
        fresh = [item for item in items if not self._is_stale(_time(item.get("timestamp")))]
        if len(fresh) != 1:
            raise CalculationError(f"{problem}{len(fresh)} fresh values returned from custom metrics API")
        return _sensible(fresh[0].get("value"), problem)

    async def external(self, namespace: str, metric: str, labels: str) -> int:
        problem = f"unable to get external metric {namespace}/{metric}/{labels}: "
        query = f"?{urlencode({'labelSelector': labels})}" if labels else ""
        path = f"{EXTERNAL_METRICS}/namespaces/{quote(namespace)}/{quote(metric)}{query}"
        items = await self._values(path, f"{problem}unable to fetch metrics from external metrics API: ")
        fresh = [item for item in items if not self._is_stale(_time(item.get("timestamp")))]
        if not fresh:
            raise CalculationError(f"{problem}no metrics returned from external metrics API")
        return sum(_sensible(item.get("value"), problem) for item in fresh)

    async def _values(self, path: str, problem: str) -> list[JsonObject]:
        try:
            found = await self._client.get_raw(path)
        except ApiError as error:
            raise CalculationError(problem + error.message) from None
        return [item for item in found.get("items") or () if isinstance(item, dict)]

    def _is_stale(self, at_s: float) -> bool:
        return at_s < self._clock.now() - self._max_age_s


def _usage(item: JsonObject, resource: str, container: str, problem: str) -> int | None:
    """The usage of a PodMetrics in thousandths; None when a container has none. Raises CalculationError: one value
    that makes no sense would hide in the sum of the others."""
    total = 0
    found = False
    for each in item.get("containers") or ():
        if container and each.get("name") != container:
            continue
        used = (each.get("usage") or {}).get(resource)
        if used is None:
            return None
        found = True
        total += _sensible(used, problem)
    return total if found else None


def _milli(text: object) -> int:
    try:
        return quantity.milli(text)
    except (quantity.QuantityError, TypeError):
        return -1


def _sensible(value: object, problem: str) -> int:
    milli = _milli(value)
    if milli < 0:
        raise CalculationError(f"{problem}the value {value!r} makes no sense")
    return milli


def _time(text: object) -> float:
    try:
        return parse_rfc3339(str(text))
    except ValueError:
        return 0.0


def _window(text: object) -> float:
    """Seconds; 0 for what is no duration: then the measurement counts from its time alone."""
    try:
        return durations.parse_go(str(text or "0s"))
    except ValueError:
        return 0.0


Resolve = Callable[[str, str], str]
"""(apiVersion, kind) to `plural.group`. Raises CalculationError."""
