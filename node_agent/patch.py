"""The strategic merge patch that turns one pod status into another; pure.

A patch and not an update, because the scheduler and readiness gates write conditions of the same pod.
"""

from __future__ import annotations

from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.scheduling.resources import RESIZE_IN_PROGRESS, RESIZE_PENDING

_MERGED_LISTS = ("podIPs", "hostIPs")
"""Lists that strategic merge would only add to."""
AGENT_FIELDS = (
    "phase", "qosClass", "startTime", "hostIP", "hostIPs", "podIP", "podIPs", "reason", "message",
    "initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses", "observedGeneration",
)  # fmt: skip
AGENT_CONDITIONS = (
    "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled", "DisruptionTarget",
)  # fmt: skip

RESIZE_CONDITIONS = (RESIZE_PENDING, RESIZE_IN_PROGRESS)
"""The agent's too, and gone when they are over."""


def status_patch(pod: JsonObject, new: JsonObject) -> JsonObject | None:
    """What changes `pod.status` to `new` in the fields that the agent owns; None when they agree."""
    old = meta.status(pod)
    change: JsonObject = {}
    for field in AGENT_FIELDS:
        if field not in new:
            if field in old:
                change[field] = None
        elif old.get(field) != new[field]:
            value = new[field]
            change[field] = [{"$patch": "replace"}, *value] if field in _MERGED_LISTS else value
    before = {item.get("type"): item for item in old.get("conditions") or []}
    ours = (*AGENT_CONDITIONS, *RESIZE_CONDITIONS)
    changed: list[JsonObject] = []
    for condition in new.get("conditions") or []:
        if condition["type"] in ours and before.get(condition["type"]) != condition:
            gone = {key: None for key in before.get(condition["type"], {}) if key not in condition}
            changed.append({**gone, **condition})
    present = {item["type"] for item in new.get("conditions") or []}
    changed += [
        {"type": type_, "$patch": "delete"} for type_ in RESIZE_CONDITIONS if type_ in before and type_ not in present
    ]
    if changed:
        change["conditions"] = changed
    if not change:
        return None
    return {"metadata": {"uid": meta.uid(pod)}, "status": change}


def with_status(pod: JsonObject, new: JsonObject) -> JsonObject:
    """`pod` as it will be once the patch is written: conditions of others stay as they are in `pod`."""
    merged: JsonObject = {**meta.status(pod), **new}
    for field in AGENT_FIELDS:
        if field not in new:
            merged.pop(field, None)
    known = (*AGENT_CONDITIONS, *RESIZE_CONDITIONS)
    theirs = [item for item in meta.status(pod).get("conditions") or [] if item.get("type") not in known]
    ours = [item for item in new.get("conditions") or [] if item["type"] in known]
    told = {item["type"] for item in ours}
    kept = [
        item
        for item in meta.status(pod).get("conditions") or []
        if item.get("type") in AGENT_CONDITIONS and item["type"] not in told
    ]
    merged["conditions"] = [*theirs, *kept, *ours]
    return {**pod, "status": merged}
