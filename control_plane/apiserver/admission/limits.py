"""LimitRanger: a namespace's LimitRanges give containers defaults and hold them, pods and claims within bounds.

Rules: plugin/pkg/admission/limitranger. Several ranges in a namespace all hold; defaults come from the first that
has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from argosy import quota
from argosy.objects import meta, quantity
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.resources import Resources

ANNOTATION: Final = "kubernetes.io/limit-ranger"


class LimitRanger(Plugin):
    name = "LimitRanger"

    def __init__(self, resources: Resources) -> None:
        self._ranges = resources.require("", "limitranges").cache

    def _items(self, namespace: str, kind: str) -> Iterator[JsonObject]:
        for entry in self._ranges.select(namespace):
            for item in meta.spec(entry.obj).get("limits") or ():
                if item.get("type") == kind:
                    yield item

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation is not Operation.CREATE or not attributes.is_for("", "pods"):
            return
        pod = attributes.obj
        assert pod is not None
        notes: list[str] = []
        for item in self._items(attributes.namespace, "Container"):
            for field in ("containers", "initContainers"):
                for container in pod["spec"].get(field) or ():
                    notes += _fill(container, item, field)
        if notes:
            text = "LimitRanger plugin set: " + "; ".join(notes)
            pod["metadata"]["annotations"] = {**meta.annotations(pod), ANNOTATION: text}

    async def validate(self, attributes: Attributes) -> None:
        if attributes.obj is None or attributes.operation not in (Operation.CREATE, Operation.UPDATE):
            return
        found: list[str] = []
        created = attributes.is_for("", "pods") and attributes.operation is Operation.CREATE
        if created or attributes.is_for("", "pods", "resize"):
            found = self._pod(attributes)
        elif attributes.is_for("", "persistentvolumeclaims"):
            requests = (meta.spec(attributes.obj).get("resources") or {}).get("requests") or {}
            for item in self._items(attributes.namespace, "PersistentVolumeClaim"):
                found += _bounds(item, "PersistentVolumeClaim", requests, {})
        if found:
            text = found[0] if len(found) == 1 else "[" + ", ".join(found) + "]"
            raise errors.forbidden("", attributes.kind.plural, meta.name(attributes.obj), text)

    def _pod(self, attributes: Attributes) -> list[str]:
        spec = meta.spec(attributes.obj or {})
        found: list[str] = []
        for item in self._items(attributes.namespace, "Container"):
            for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
                resources = container.get("resources") or {}
                found += _bounds(item, "Container", resources.get("requests") or {}, resources.get("limits") or {})
        for item in self._items(attributes.namespace, "Pod"):
            pod = attributes.obj or {}
            found += _bounds(item, "Pod", _total(pod, "requests"), _total(pod, "limits"))
        return found


def _fill(container: JsonObject, item: JsonObject, field: str) -> list[str]:
    """Absent limits and requests from the range's defaults, in place; what was set."""
    resources = container.setdefault("resources", {})
    notes: list[str] = []
    for name, part in (("requests", "defaultRequest"), ("limits", "default")):
        held = resources.get(name) or {}
        added = {key: value for key, value in (item.get(part) or {}).items() if key not in held}
        if added:
            resources[name] = {**held, **added}
            word = "container" if field == "containers" else "init container"
            kind = "request" if name == "requests" else "limit"
            notes.append(f"{', '.join(sorted(added))} {kind} for {word} {container.get('name')}")
    return notes


def _total(pod: JsonObject, part: str) -> dict[str, str]:
    """At the pod's peak."""
    return {key: str(value) for key, value in quota.pod_total(pod, part).items()}


def _bounds(item: JsonObject, kind: str, requests: Mapping[str, str], limits: Mapping[str, str]) -> list[str]:
    """The complaints of one range about one container, pod or claim."""
    found: list[str] = []
    for key, least in (item.get("min") or {}).items():
        said = f"minimum {key} usage per {kind} is {least}"
        if key not in requests:
            found.append(f"{said}.  No request is specified")
        elif quantity.compare(requests[key], least) < 0:
            found.append(f"{said}, but request is {requests[key]}")
        elif key in limits and quantity.compare(limits[key], least) < 0:
            found.append(f"{said}, but limit is {limits[key]}")
    for key, most in (item.get("max") or {}).items():
        found += _most(kind, key, most, requests, limits)
    for key, ratio in (item.get("maxLimitRequestRatio") or {}).items():
        found += _ratio(kind, key, ratio, requests.get(key), limits.get(key))
    return found


def _most(kind: str, key: str, most: str, requests: Mapping[str, str], limits: Mapping[str, str]) -> list[str]:
    said = f"maximum {key} usage per {kind} is {most}"
    if kind == "PersistentVolumeClaim":
        if key not in requests:
            return [f"{said}.  No request is specified"]
    elif key not in limits:
        return [f"{said}.  No limit is specified"]
    elif quantity.compare(limits[key], most) > 0:
        return [f"{said}, but limit is {limits[key]}"]
    if key in requests and quantity.compare(requests[key], most) > 0:
        return [f"{said}, but request is {requests[key]}"]
    return []


def _ratio(kind: str, key: str, ratio: str, request: str | None, limit: str | None) -> list[str]:
    said = f"{key} max limit to request ratio per {kind} is {ratio}"
    asked = quantity.parse(request).nano if request is not None else 0
    allowed = quantity.parse(limit).nano if limit is not None else 0
    if asked == 0:
        return [f"{said}, but no request is specified or request is 0"]
    if allowed == 0:
        return [f"{said}, but no limit is specified or limit is 0"]
    if allowed * quantity.NANO > quantity.parse(ratio).nano * asked:
        return [f"{said}, but provided ratio is {allowed / asked:f}"]
    return []
