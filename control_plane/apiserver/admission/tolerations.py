"""DefaultTolerationSeconds: pods stay a while on a node that is lost, unless they say otherwise."""

from __future__ import annotations

from typing import Final

from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin

NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"


class DefaultTolerations(Plugin):
    name = "DefaultTolerationSeconds"

    def __init__(self, not_ready_s: int, unreachable_s: int) -> None:
        self._seconds = {NOT_READY: not_ready_s, UNREACHABLE: unreachable_s}

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation is not Operation.CREATE or not attributes.is_for("", "pods"):
            return
        assert attributes.obj is not None
        spec = attributes.obj["spec"]
        held = spec.get("tolerations") or []
        for key, seconds in self._seconds.items():
            if not any(_tolerates(item, key) for item in held):
                held = [
                    *held,
                    {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds},
                ]
        spec["tolerations"] = held


def _tolerates(toleration: JsonObject, key: str) -> bool:
    return toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")
