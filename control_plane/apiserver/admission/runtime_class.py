"""RuntimeClass: a pod takes over the overhead and the scheduling of its class (KEP-688, KEP-894)."""

from __future__ import annotations

from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.resources import Resources


class RuntimeClassAdmission(Plugin):
    name = "RuntimeClass"

    def __init__(self, resources: Resources) -> None:
        self._classes = resources.require("node.k8s.io", "runtimeclasses").cache

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation is not Operation.CREATE or not attributes.is_for("", "pods"):
            return
        pod = attributes.obj
        assert pod is not None
        spec = pod["spec"]
        name = spec.get("runtimeClassName")
        if not name:
            if spec.get("overhead"):
                detail = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
                raise errors.forbidden("", "pods", meta.name(pod), detail)
            return
        entry = self._classes.get(name)
        if entry is None:
            raise errors.forbidden("", "pods", meta.name(pod), f'pod rejected: RuntimeClass "{name}" not found')
        overhead = (entry.obj.get("overhead") or {}).get("podFixed")
        if spec.get("overhead") not in (None, {}, overhead):
            detail = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            raise errors.forbidden("", "pods", meta.name(pod), detail)
        if overhead:
            spec["overhead"] = dict(overhead)
        _schedule(pod, spec, entry.obj.get("scheduling") or {}, name)


def _schedule(pod: JsonObject, spec: JsonObject, scheduling: JsonObject, name: str) -> None:
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.setdefault(key, value) != value:
            detail = (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}"
            )
            raise errors.forbidden("", "pods", meta.name(pod), f"pod rejected: {detail} (RuntimeClass {name})")
    if selector:
        spec["nodeSelector"] = selector
    added = [item for item in scheduling.get("tolerations") or () if item not in (spec.get("tolerations") or ())]
    if added:
        spec["tolerations"] = [*(spec.get("tolerations") or ()), *meta.copy(added)]
