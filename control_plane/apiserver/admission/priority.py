"""Priority: a pod's class becomes a number; there is at most one default class (plugin/pkg/admission/priority)."""

from __future__ import annotations

from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.resources import Resources

PREEMPT = "PreemptLowerPriority"


class PriorityAdmission(Plugin):
    name = "Priority"

    def __init__(self, resources: Resources) -> None:
        self._classes = resources.require("scheduling.k8s.io", "priorityclasses").cache

    async def mutate(self, attributes: Attributes) -> None:
        if not attributes.is_for("", "pods"):
            return
        pod = attributes.obj
        if pod is None:
            return
        spec = pod["spec"]
        if attributes.operation is Operation.UPDATE:
            old = (attributes.old or {}).get("spec") or {}
            for key in ("priority", "preemptionPolicy"):
                if spec.get(key) is None and old.get(key) is not None:
                    spec[key] = old[key]
            return
        if attributes.operation is not Operation.CREATE:
            return
        found = self._class_of(attributes, pod)
        value = int(found.get("value", 0)) if found else 0
        if spec.get("priority") is not None and spec["priority"] != value:
            detail = (
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name"
            )
            raise errors.forbidden("", "pods", meta.name(pod), detail)
        spec["priority"] = value
        policy = (found or {}).get("preemptionPolicy") or PREEMPT
        if spec.get("preemptionPolicy") not in (None, policy):
            detail = (
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod "
                f"spec; priority admission controller computed {policy} from the given PriorityClass name"
            )
            raise errors.forbidden("", "pods", meta.name(pod), detail)
        spec["preemptionPolicy"] = policy

    def _class_of(self, attributes: Attributes, pod: JsonObject) -> JsonObject | None:
        name = pod["spec"].get("priorityClassName")
        if not name:
            defaults = [entry.obj for entry in self._classes.entries() if entry.obj.get("globalDefault")]
            found = min(defaults, key=lambda item: int(item.get("value", 0)), default=None)
            if found is not None:
                pod["spec"]["priorityClassName"] = meta.name(found)
            return found
        entry = self._classes.get(name)
        if entry is None:
            detail = f"no PriorityClass with name {name} was found"
            raise errors.forbidden("", "pods", meta.name(pod), detail)
        return entry.obj

    async def validate(self, attributes: Attributes) -> None:
        if not attributes.is_for("scheduling.k8s.io", "priorityclasses") or attributes.obj is None:
            return
        if not attributes.obj.get("globalDefault"):
            return
        name = meta.name(attributes.obj)
        for entry in self._classes.entries():
            if entry.obj.get("globalDefault") and entry.key != name:
                detail = f"PriorityClass {entry.key} is already marked as default. Only one default can exist"
                raise errors.forbidden("scheduling.k8s.io", "priorityclasses", name, detail)
