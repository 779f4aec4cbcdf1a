"""What a HorizontalPodAutoscaler's status says: conditions and the metrics last seen. Pure."""

from __future__ import annotations

from argosy.host import rfc3339
from argosy.objects import conditions, meta, quantity
from argosy.objects.types import JsonObject
from control_plane.autoscaler.pods.replicas import Proposal


class Status:
    """A status being worked out; `result` is the new one."""

    def __init__(self, autoscaler: JsonObject, now_s: float) -> None:
        self._old = meta.status(autoscaler)
        self._now = rfc3339(now_s)
        self._conditions: list[JsonObject] = list(self._old.get("conditions") or ())
        self.current = int(self._old.get("currentReplicas") or 0)
        self.desired = int(self._old.get("desiredReplicas") or 0)
        self.metrics: list[JsonObject] | None = None
        """None: nothing new was measured."""
        self.scaled = False

    def condition(self, type_: str, status: bool, reason: str, message: str) -> None:
        made = conditions.make(type_, status, self._now, reason, message)
        self._conditions = conditions.with_condition(self._conditions, made)

    def result(self) -> JsonObject:
        status: JsonObject = {
            "currentReplicas": self.current,
            "desiredReplicas": self.desired,
            "currentMetrics": self._old.get("currentMetrics") if self.metrics is None else self.metrics,
            "conditions": self._conditions,
        }
        at = self._now if self.scaled else self._old.get("lastScaleTime")
        if at:
            status["lastScaleTime"] = at
        return status


def current_metric(metric: JsonObject, field: str, proposal: Proposal) -> JsonObject:
    """The status entry of one metric of the spec; `field` is its source's, such as `containerResource`."""
    source = metric[field]
    target = source.get("target") or {}
    text = shown(proposal.milli, str(target.get("averageValue") or target.get("value") or ""))
    current: JsonObject
    if proposal.percent is not None:
        current = {"averageUtilization": proposal.percent, "averageValue": text}
    elif target.get("averageValue") is not None:
        current = {"averageValue": text}
    else:
        current = {"value": text}
    kept = {key: source[key] for key in ("name", "container", "metric", "describedObject") if key in source}
    return {"type": metric["type"], field: {**kept, "current": current}}


def shown(milli: int, like: str) -> str:
    """Thousandths as a quantity: in bytes where the target is, else in thousandths or whole numbers."""
    return quantity.of_bytes(milli // 1000) if like.endswith("i") and milli % 1000 == 0 else quantity.of_milli(milli)
