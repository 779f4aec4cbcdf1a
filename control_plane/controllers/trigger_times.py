"""When what endpoints show last changed, for the annotation from which proxies measure how late they are; pure.

Upstream: `staging/src/k8s.io/endpointslice/util/trigger_time_tracker.go`. The Endpoints and the EndpointSlice
controller each have one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject

ANNOTATION: Final = "endpoints.kubernetes.io/last-change-trigger-time"


def _of_pod(pod: JsonObject) -> str:
    ready = conditions.get(pod, "Ready")
    return "" if ready is None else str(ready.get("lastTransitionTime") or "")


class TriggerTimes:
    """Remembers, by Service, the times seen at its last look. Times are RFC 3339 texts, which sort as times."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, dict[str, str]]] = {}

    def look(self, service: JsonObject, pods: Iterable[JsonObject]) -> str:
        """The earliest change since the last look; empty when there was none that has a time."""
        key = meta.key(service)
        service_before, pods_before = self._seen.get(key, ("", {}))
        times = {meta.name(pod): time for pod in pods if (time := _of_pod(pod))}
        changed = [time for name, time in times.items() if time > pods_before.get(name, "")]
        created = str(meta.metadata(service).get("creationTimestamp") or "")
        if created > service_before:
            changed.append(created)
        self._seen[key] = (created, times)
        return min(changed, default="")

    def forget(self, key: str) -> None:
        self._seen.pop(key, None)


def annotated(annotations: dict[str, str], time: str) -> dict[str, str]:
    """`annotations` with that time; without any for an empty one."""
    rest = {name: text for name, text in annotations.items() if name != ANNOTATION}
    return {**rest, ANNOTATION: time} if time else rest
