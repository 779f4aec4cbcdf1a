"""What a new pod gets: the recommended requests of the autoscaler that it belongs to, as a JSON patch. Pure.

Source: VPA `pkg/admission-controller/resource/pod/patch`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.autoscaler.vertical.recommendation import RESOURCES, policy_of, scaled_limits, within_limits

UPDATES: Final = "vpaUpdates"
OBSERVED: Final = "vpaObservedContainers"
ADMITTING: Final = ("Initial", "Recreate", "InPlaceOrRecreate", "Auto")


def mode_of(autoscaler: JsonObject) -> str:
    """Recreate where it says nothing or Auto."""
    mode = str((meta.spec(autoscaler).get("updatePolicy") or {}).get("updateMode") or "Recreate")
    return "Recreate" if mode == "Auto" else mode


def recommendations(autoscaler: JsonObject) -> list[JsonObject]:
    found = (meta.status(autoscaler).get("recommendation") or {}).get("containerRecommendations") or []
    return [item for item in found if isinstance(item, dict)]


def changes(pod: JsonObject, autoscaler: JsonObject) -> dict[int, tuple[JsonObject, JsonObject]]:
    """(requests, limits) that containers should get, by their places in the pod."""
    by_name = {item.get("containerName"): item for item in recommendations(autoscaler)}
    result: dict[int, tuple[JsonObject, JsonObject]] = {}
    for index, container in enumerate(meta.spec(pod).get("containers") or []):
        found = by_name.get(container.get("name"))
        if found is None:
            continue
        target = {name: text for name, text in (found.get("target") or {}).items() if name in RESOURCES}
        if not target:
            continue
        resources = container.get("resources") or {}
        limits: JsonObject = {}
        if policy_of(meta.spec(autoscaler), str(container["name"])).get("controlledValues") == "RequestsOnly":
            target = within_limits(resources, target)
        else:
            limits = scaled_limits(resources, target)
        result[index] = (target, limits)
    return result


def resize(pod: JsonObject, autoscaler: JsonObject) -> JsonObject | None:
    """A strategic merge patch of pods/resize; None when nothing is recommended."""
    containers = meta.spec(pod).get("containers") or []
    changed = [
        {
            "name": containers[index]["name"],
            "resources": {"requests": requests, **({"limits": limits} if limits else {})},
        }
        for index, (requests, limits) in changes(pod, autoscaler).items()
    ]
    return {"metadata": {"uid": meta.uid(pod)}, "spec": {"containers": changed}} if changed else None


def patch(pod: JsonObject, autoscaler: JsonObject) -> list[JsonObject]:
    """JSON patch operations; empty when nothing is recommended or the autoscaler only recommends."""
    if mode_of(autoscaler) not in ADMITTING:
        return []
    operations: list[JsonObject] = []
    notes: list[str] = []
    containers: Sequence[JsonObject] = meta.spec(pod).get("containers") or []
    for index, (target, limits) in changes(pod, autoscaler).items():
        resources = containers[index].get("resources") or {}
        new = {**resources, "requests": {**(resources.get("requests") or {}), **target}}
        if limits:
            new["limits"] = {**(resources.get("limits") or {}), **limits}
        operations.append({"op": "add", "path": f"/spec/containers/{index}/resources", "value": new})
        changed = [f"{name} request" for name in sorted(target)] + [f"{name} limit" for name in sorted(limits)]
        notes.append(f"container {index}: {', '.join(changed)}")
    if not operations:
        return []
    said = f"Pod resources updated by {meta.name(autoscaler)}: {'; '.join(notes)}"
    annotations = {UPDATES: said, OBSERVED: ", ".join(str(item.get("name")) for item in containers)}
    return [*_annotate(pod, annotations), *operations]


def _annotate(pod: JsonObject, annotations: dict[str, str]) -> Iterable[JsonObject]:
    if not meta.annotations(pod):
        return [{"op": "add", "path": "/metadata/annotations", "value": annotations}]
    return [{"op": "add", "path": f"/metadata/annotations/{key}", "value": text} for key, text in annotations.items()]
