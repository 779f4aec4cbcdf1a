"""How `kubectl get pods` sums a pod up: ready containers, one word of status, restarts.

Rules: pkg/printers/internalversion, printPod.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Column
from argosy.objects import conditions, durations, meta
from argosy.objects.types import JsonObject

NODE_LOST = "NodeLost"
FINAL_PHASES = ("Succeeded", "Failed")


@dataclass
class Summary:
    """What the columns show of one pod."""

    reason: str
    ready: int = 0
    total: int = 0
    restarts: int = 0
    last_restart: str = ""
    """RFC 3339; empty when no container ended before."""

    def count(self, status: JsonObject) -> None:
        """Take a container's restarts into account."""
        self.restarts += int(status.get("restartCount", 0))
        ended = columns.text_at(status, "lastState", "terminated", "finishedAt")
        self.last_restart = max(self.last_restart, ended)


def _ended(terminated: JsonObject) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _initialising(pod: JsonObject, summary: Summary, sidecars: Summary) -> bool:
    """Go through the init containers up to the first that is not done; true when there is one."""
    spec = meta.spec(pod)
    kept_running = {
        item["name"] for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"
    }
    for index, status in enumerate(meta.status(pod).get("initContainerStatuses") or ()):
        summary.count(status)
        sidecar = status.get("name") in kept_running
        if sidecar:
            sidecars.count(status)
        state = status.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting") or {}
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if sidecar and status.get("started"):
            summary.ready += bool(status.get("ready"))
            continue
        if terminated is not None:
            summary.reason = "Init:" + _ended(terminated)
        elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
            summary.reason = f"Init:{waiting['reason']}"
        else:
            summary.reason = f"Init:{index}/{len(spec.get('initContainers') or ())}"
        return True
    return False


def _running(pod: JsonObject, summary: Summary) -> None:
    has_running = False
    for status in reversed(meta.status(pod).get("containerStatuses") or ()):
        summary.count(status)
        state = status.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            summary.reason = waiting["reason"]
        elif terminated is not None:
            summary.reason = _ended(terminated)
        elif status.get("ready") and state.get("running") is not None:
            has_running = True
            summary.ready += 1
    if summary.reason == "Completed" and has_running:
        summary.reason = "Running" if conditions.is_true(pod, "Ready") else "NotReady"


def summarise(pod: JsonObject) -> Summary:
    spec, status = meta.spec(pod), meta.status(pod)
    phase = status.get("phase", "")
    summary = Summary(reason=status.get("reason") or phase)
    scheduled = conditions.get(pod, "PodScheduled") or {}
    if scheduled.get("reason") == "SchedulingGated":
        summary.reason = "SchedulingGated"
    summary.total = len(spec.get("containers") or ()) + sum(
        item.get("restartPolicy") == "Always" for item in spec.get("initContainers") or ()
    )
    sidecars = Summary("")
    if not _initialising(pod, summary, sidecars) or conditions.is_true(pod, "Initialized"):
        summary.restarts, summary.last_restart = sidecars.restarts, sidecars.last_restart
        _running(pod, summary)
    if meta.is_deleting(pod):
        if status.get("reason") == NODE_LOST:
            summary.reason = "Unknown"
        elif phase not in FINAL_PHASES:
            summary.reason = "Terminating"
    return summary


def _ready(pod: JsonObject) -> str:
    summary = summarise(pod)
    return f"{summary.ready}/{summary.total}"


def _restarts(pod: JsonObject, now: float) -> str:
    summary = summarise(pod)
    if summary.restarts and summary.last_restart:
        return f"{summary.restarts} ({durations.age(summary.last_restart, now)} ago)"
    return str(summary.restarts)


def _ip(pod: JsonObject) -> str:
    addresses = meta.status(pod).get("podIPs") or ()
    return (addresses[0].get("ip") if addresses else "") or columns.NONE


def _gates(pod: JsonObject) -> str:
    gates = meta.spec(pod).get("readinessGates") or ()
    if not gates:
        return columns.NONE
    passed = sum(conditions.is_true(pod, gate.get("conditionType", "")) for gate in gates)
    return f"{passed}/{len(gates)}"


COLUMNS = (
    columns.computed("Ready", _ready, description="Containers that are ready, of all."),
    columns.computed("Status", lambda pod: summarise(pod).reason, description="What the pod is doing, in one word."),
    Column("Restarts", _restarts, description="How often its containers were restarted, and when last."),
    AGE_COLUMN,
    columns.computed("IP", _ip, priority=1, description="Its first address."),
    columns.text("Node", "spec", "nodeName", empty=columns.NONE, priority=1, description="Where it runs."),
    columns.text(
        "Nominated Node",
        "status",
        "nominatedNodeName",
        empty=columns.NONE,
        priority=1,
        description="Where it will run once others have left.",
    ),
    columns.computed("Readiness Gates", _gates, priority=1, description="Extra conditions that are true, of all."),
)
