"""PodResizeValidator: no bound pod is resized beyond what its node has (plugin/pkg/admission/podresize)."""

from __future__ import annotations

from typing import Final

from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from argosy.scheduling import resources as amounts
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.resources import Resources

OS_LABEL: Final = "kubernetes.io/os"
NODE_CAPACITY: Final = "NodeCapacity"
"""The cause by which clients (VPA) know that asking again is no use."""
UNSUPPORTED_PLATFORM: Final = "UnsupportedPlatform"


class PodResizeValidator(Plugin):
    name = "PodResizeValidator"

    def __init__(self, resources: Resources) -> None:
        self._nodes = resources.require("", "nodes").cache

    async def validate(self, attributes: Attributes) -> None:
        """Raises ApiError 403."""
        if attributes.operation is not Operation.UPDATE or not attributes.is_for("", "pods", "resize"):
            return
        pod, old = attributes.obj or {}, attributes.old or {}
        node_name = str(meta.spec(pod).get("nodeName") or "")
        if not node_name or meta.generation(pod) == meta.generation(old):
            return
        entry = self._nodes.get(node_name)
        if entry is None:
            raise _refusal(attributes, f'node "{node_name}" not found', "")
        lack = _lack(pod, entry.obj)
        if lack:
            raise _refusal(attributes, f"Node didn't have enough allocatable resources: {lack}", NODE_CAPACITY)
        system = meta.labels(entry.obj).get(OS_LABEL, "")
        if system != "linux":
            detail = f'pod resize is only supported on linux nodes, node "{node_name}" is "{system}"'
            raise _refusal(attributes, detail, UNSUPPORTED_PLATFORM)


def _lack(pod: JsonObject, node: JsonObject) -> str:
    wanted, there = amounts.spec_requests(pod), amounts.allocatable(node)
    return "; ".join(
        f"{name}, requested: {wanted[name]}, allocatable: {there.get(name, 0)}"
        for name in (amounts.CPU, amounts.MEMORY)
        if wanted.get(name, 0) > there.get(name, 0)
    )


def _refusal(attributes: Attributes, detail: str, cause: str) -> errors.ApiError:
    error = errors.forbidden("", "pods", attributes.request.name, detail)
    if cause:
        error.status["details"].setdefault("causes", []).append({"reason": cause})
    return error
