"""A pod's status from what the runtime shows: container statuses, phase and conditions; pure.

Upstream's rules (pkg/kubelet: kubelet_pods.go `convertToAPIContainerStatuses`, `getPhase`; status/generate.go).
Absent values are left out, never null, so that what was written compares equal to what comes back. The worker
calls it after every pass; `patch.py` turns the difference into what is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from argosy.host import rfc3339
from argosy.objects import conditions, meta
from argosy.objects.pod_qos import qos_class
from argosy.objects.types import JsonObject
from node_agent.observed import Observed
from node_agent.patch import RESIZE_CONDITIONS
from node_agent.plan import restart_policy
from node_agent.resources import is_sidecar
from node_agent.runtime.runtime import RESTART_COUNT_ANNOTATION, ContainerStatus, State

READY_TO_START = "PodReadyToStartContainers"
LOST_REASON = "ContainerStatusUnknown"
LOST_EXIT_CODE = 137
LOST_MESSAGE = "The container could not be located when the pod was terminated"


@dataclass(frozen=True)
class Waiting:
    """Why a container is not running, such as CrashLoopBackOff or ErrImagePull."""

    reason: str
    message: str


@dataclass(frozen=True)
class Inputs:
    """All that a status is made from, beside the pod."""

    seen: Observed
    now: float
    host_ips: Sequence[str]
    runtime_name: str = "containerd"
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    """By container name."""
    ready: Mapping[str, bool] = field(default_factory=dict)
    """Readiness by container id; absent: not ready."""
    started: Mapping[str, bool] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)
    """Termination messages by container id."""
    failure: tuple[str, str] | None = None
    """(reason, message) when the agent ended the pod itself: the phase is Failed."""
    blocked: tuple[str, str] | None = None
    """(reason, message) why not even the sandbox can be made."""
    allocated: Mapping[str, JsonObject] = field(default_factory=dict)
    """Resources that containers were granted, by name; those of the others are what they ask for."""
    actual: Mapping[str, JsonObject] = field(default_factory=dict)
    """Resources of running containers, by id."""
    resize: Sequence[JsonObject] = ()
    """Conditions of a resize that waits or is under way; none: those that stand are over."""
    terminal: bool = False
    """The pod has ended for good: its phase is Succeeded or Failed."""


def restart_count(container: ContainerStatus) -> int:
    text = container.annotations.get(RESTART_COUNT_ANNOTATION, "")
    return int(text) if text.isdigit() else container.attempt


def container_statuses(pod: JsonObject, inputs: Inputs, field_name: str) -> list[JsonObject]:
    """`field_name` is initContainers, containers or ephemeralContainers."""
    spec = meta.spec(pod)
    init = field_name == "initContainers"
    old_field = f"{field_name[:-1]}Statuses"
    old = {item["name"]: item for item in meta.status(pod).get(old_field) or []}
    default = "PodInitializing" if init or spec.get("initContainers") else "ContainerCreating"
    return [
        _container(container, inputs, old.get(container["name"]), default, field_name)
        for container in spec.get(field_name) or []
    ]


def _container(
    container: JsonObject, inputs: Inputs, old: JsonObject | None, default: str, field_name: str
) -> JsonObject:
    name, init = container["name"], field_name == "initContainers"
    history = inputs.seen.history(name)
    result: JsonObject = {
        "name": name,
        "state": {},
        "lastState": {},
        "ready": False,
        "restartCount": int((old or {}).get("restartCount") or 0),
        "image": container.get("image", ""),
        "imageID": "",
        "started": False,
    }
    waiting = inputs.waiting.get(name)
    if history:
        _from_history(result, container, history, inputs, old, default)
        if field_name != "ephemeralContainers":
            _resources(result, container, history[0], inputs)
    elif old is not None and old.get("containerID"):
        _from_memory(result, old, inputs)
    else:
        result["state"] = {"waiting": {"reason": default}}
    if waiting is not None and "running" not in result["state"]:
        if "terminated" in result["state"]:
            result["lastState"] = {"terminated": result["state"]["terminated"]}
        shown = {"reason": waiting.reason, "message": waiting.message}
        result["state"] = {"waiting": {key: value for key, value in shown.items() if value}}
    if init and not is_sidecar(container):
        ended = result["state"].get("terminated")
        result["ready"] = bool(ended and ended["exitCode"] == 0)
    return result


def _from_history(
    result: JsonObject,
    container: JsonObject,
    history: Sequence[ContainerStatus],
    inputs: Inputs,
    old: JsonObject | None,
    default: str,
) -> None:
    latest = history[0]
    result["containerID"] = f"{inputs.runtime_name}://{latest.id}"
    result["image"] = latest.image or container.get("image", "")
    result["imageID"] = latest.image_ref
    result["restartCount"] = restart_count(latest)
    if latest.state is State.RUNNING:
        result["state"] = {"running": {"startedAt": rfc3339(latest.started_at)}}
        result["started"] = inputs.started.get(latest.id, False)
        result["ready"] = result["started"] and inputs.ready.get(latest.id, False)
    elif latest.state is State.CREATED:
        result["state"] = {"waiting": {"reason": default}}
    else:
        result["state"] = {"terminated": terminated(latest, inputs)}
    ended = next((item for item in history[1:] if item.state is State.EXITED), None)
    if ended is not None:
        result["lastState"] = {"terminated": terminated(ended, inputs)}
    elif old is not None and old.get("lastState"):
        result["lastState"] = old["lastState"]


def _resources(result: JsonObject, container: JsonObject, latest: ContainerStatus, inputs: Inputs) -> None:
    """What was granted, and what is in force (upstream `convertContainerStatusResources`)."""
    allocated = inputs.allocated.get(latest.name, container.get("resources") or {})
    if allocated.get("requests"):
        result["allocatedResources"] = allocated["requests"]
    result["resources"] = inputs.actual.get(latest.id, allocated)


def _from_memory(result: JsonObject, old: JsonObject, inputs: Inputs) -> None:
    """The runtime has no trace of a container that was there: what the API server last heard, or lost."""
    result["containerID"] = old["containerID"]
    result["image"], result["imageID"] = old.get("image", ""), old.get("imageID", "")
    result["lastState"] = old.get("lastState") or {}
    state = old.get("state") or {}
    if "running" in state:
        result["state"] = {
            "terminated": {
                "exitCode": LOST_EXIT_CODE,
                "reason": LOST_REASON,
                "message": LOST_MESSAGE,
                "finishedAt": rfc3339(inputs.now),
                "containerID": old["containerID"],
                **state["running"],
            }
        }
    else:
        result["state"] = state or {"waiting": {"reason": "ContainerCreating"}}


def terminated(container: ContainerStatus, inputs: Inputs) -> JsonObject:
    identity = {"containerID": f"{inputs.runtime_name}://{container.id}"}
    times = {
        field: rfc3339(at)
        for field, at in (("startedAt", container.started_at), ("finishedAt", container.finished_at))
        if at
    }
    if container.state is not State.EXITED:
        lost = {"exitCode": LOST_EXIT_CODE, "reason": LOST_REASON, "message": LOST_MESSAGE}
        return {**lost, **times, **identity}
    message = inputs.messages.get(container.id) or container.message
    result: JsonObject = {
        "exitCode": container.exit_code,
        "reason": container.reason or ("Completed" if container.exit_code == 0 else "Error"),
        **times,
        **identity,
    }
    if message:
        result["message"] = message
    return result


def phase(pod: JsonObject, inits: Sequence[JsonObject], mains: Sequence[JsonObject], terminal: bool) -> str:
    spec = meta.spec(pod)
    by_name = {status["name"]: status for status in inits}
    pending_init = pending_sidecars = failed_init = unknown = running = waiting = stopped = succeeded = 0
    for container in spec.get("initContainers") or []:
        status = by_name[container["name"]]
        state = status["state"]
        ended = state.get("terminated") or (status["lastState"].get("terminated") if "waiting" in state else None)
        if is_sidecar(container):
            if "running" in state:
                running += 1
                pending_sidecars += not status["started"]
            elif "waiting" in state and not ended:
                pending_sidecars += 1
                waiting += 1
        elif ended is None:
            pending_init += 1
        elif ended["exitCode"] != 0 and restart_policy(pod, container) == "Never":
            failed_init += 1
    for status in mains:
        state = status["state"]
        if "running" in state:
            running += 1
        elif "terminated" in state:
            stopped += 1
            succeeded += state["terminated"]["exitCode"] == 0
        elif "waiting" in state:
            if status["lastState"].get("terminated"):
                stopped += 1
            else:
                waiting += 1
        else:
            unknown += 1
    policies = [restart_policy(pod, container) for container in spec.get("containers") or []]
    begun = any("waiting" not in status["state"] or status["lastState"].get("terminated") for status in mains)
    if failed_init:
        return "Failed"
    if pending_init or (pending_sidecars and not begun) or waiting:
        if not terminal:
            return "Pending"
        return "Failed"
    if running and not unknown and not terminal:
        return "Running"
    if stopped and not unknown:
        if terminal:
            return "Succeeded" if stopped == succeeded and not running else "Failed"
        if "Always" in policies:
            return "Running"
        if stopped == succeeded:
            return "Succeeded"
        return "Running" if "OnFailure" in policies else "Failed"
    return "Failed" if terminal else "Pending"


def _names(names: Sequence[str]) -> str:
    return "[" + " ".join(names) + "]"


def _initialized(
    pod: JsonObject, statuses: Sequence[JsonObject], mains: Sequence[JsonObject], phase_: str
) -> JsonObject:
    if phase_ == "Succeeded":
        return {"status": "True", "reason": "PodCompleted"}
    if any("running" in status["state"] for status in mains):
        return {"status": "True"}
    by_name = {container["name"]: container for container in meta.spec(pod).get("initContainers") or []}
    undone = [
        status["name"]
        for status in statuses
        if not (status["started"] if is_sidecar(by_name[status["name"]]) else status["ready"])
    ]
    if undone:
        message = f"containers with incomplete status: {_names(undone)}"
        return {"status": "False", "reason": "ContainersNotInitialized", "message": message}
    return {"status": "True"}


def _containers_ready(
    pod: JsonObject, inits: Sequence[JsonObject], mains: Sequence[JsonObject], phase_: str
) -> JsonObject:
    if phase_ == "Succeeded":
        return {"status": "False", "reason": "PodCompleted"}
    if phase_ == "Failed":
        return {"status": "False", "reason": "PodFailed"}
    sidecars = {item["name"] for item in meta.spec(pod).get("initContainers") or [] if is_sidecar(item)}
    unready = [status["name"] for status in inits if status["name"] in sidecars and not status["ready"]]
    unready += [status["name"] for status in mains if not status["ready"]]
    if unready:
        message = f"containers with unready status: {_names(unready)}"
        return {"status": "False", "reason": "ContainersNotReady", "message": message}
    return {"status": "True"}


def _ready(pod: JsonObject, containers: JsonObject) -> JsonObject:
    """Containers ready, and every readiness gate."""
    if containers["status"] != "True":
        return containers
    messages: list[str] = []
    for gate in meta.spec(pod).get("readinessGates") or []:
        name = gate["conditionType"]
        found = conditions.get(pod, name)
        if found is None:
            messages.append(f'corresponding condition of pod readiness gate "{name}" does not exist.')
        elif found.get("status") != "True":
            messages.append(f'the status of pod readiness gate "{name}" is not "True", but {found.get("status")}')
    if messages:
        return {"status": "False", "reason": "ReadinessGatesNotReady", "message": ", ".join(messages)}
    return {"status": "True"}


def pod_status(pod: JsonObject, inputs: Inputs) -> JsonObject:
    """The whole status. `pod` carries the last status known, for transition times and for what others wrote."""
    old = meta.status(pod)
    inits = container_statuses(pod, inputs, "initContainers")
    mains = container_statuses(pod, inputs, "containers")
    phase_ = phase(pod, inits, mains, inputs.terminal)
    if inputs.failure is not None:
        phase_ = "Failed"
    if old.get("phase") in ("Succeeded", "Failed"):
        phase_ = old["phase"]
    result: JsonObject = {"phase": phase_, "qosClass": old.get("qosClass") or qos_class(pod)}
    result["startTime"] = old.get("startTime") or rfc3339(inputs.now)
    if inputs.host_ips:
        result["hostIP"] = inputs.host_ips[0]
        result["hostIPs"] = [{"ip": ip} for ip in inputs.host_ips]
    ips = inputs.host_ips if meta.spec(pod).get("hostNetwork") else inputs.seen.ips
    ips = ips or [item["ip"] for item in old.get("podIPs") or []]
    if ips:
        result["podIP"] = ips[0]
        result["podIPs"] = [{"ip": ip} for ip in ips]
    if inputs.failure is not None:
        result["reason"], result["message"] = inputs.failure
    elif old.get("reason") and phase_ == "Failed":
        result["reason"], result["message"] = old["reason"], old.get("message", "")
    if inits:
        result["initContainerStatuses"] = inits
    result["containerStatuses"] = mains
    ephemeral = container_statuses(pod, inputs, "ephemeralContainers")
    if ephemeral:
        result["ephemeralContainerStatuses"] = ephemeral
    result["conditions"] = _conditions(pod, inputs, inits, mains, phase_)
    generation = meta.generation(pod)
    if generation:
        result["observedGeneration"] = generation
    return result


def _conditions(
    pod: JsonObject, inputs: Inputs, inits: Sequence[JsonObject], mains: Sequence[JsonObject], phase_: str
) -> list[JsonObject]:
    containers = _containers_ready(pod, inits, mains, phase_)
    sandbox = inputs.seen.ready_sandbox
    has_network = sandbox is not None and (sandbox.host_network or bool(sandbox.ips))
    to_start: JsonObject = {"status": "True" if has_network else "False"}
    if inputs.blocked is not None and not has_network:
        to_start["reason"], to_start["message"] = inputs.blocked
    wanted: dict[str, JsonObject] = {
        READY_TO_START: to_start,
        "Initialized": _initialized(pod, inits, mains, phase_),
        "Ready": _ready(pod, containers),
        "ContainersReady": containers,
        "PodScheduled": {"status": "True"},
    }
    if inputs.failure is not None and inputs.failure[0] == "Evicted":
        wanted["DisruptionTarget"] = {
            "status": "True", "reason": "TerminationByKubelet", "message": inputs.failure[1],
        }  # fmt: skip
    result: list[JsonObject] = [
        item for item in meta.status(pod).get("conditions") or [] if item.get("type") not in RESIZE_CONDITIONS
    ]
    generation = meta.generation(pod)
    for item in inputs.resize:
        before = conditions.get(pod, item["type"])
        result.append(conditions.with_condition([before] if before else [], item)[-1])
    for type_, content in wanted.items():
        new: JsonObject = {"type": type_, "lastTransitionTime": rfc3339(inputs.now), **content}
        if generation:
            new["observedGeneration"] = generation
        result = conditions.with_condition(result, new)
    return result


def rejected_status(pod: JsonObject, reason: str, message: str, now: float) -> JsonObject:
    """A pod that this node does not take."""
    old = meta.status(pod)
    result: JsonObject = {
        "phase": "Failed",
        "reason": reason,
        "message": message,
        "startTime": old.get("startTime") or rfc3339(now),
        "qosClass": old.get("qosClass") or qos_class(pod),
    }
    if meta.generation(pod):
        result["observedGeneration"] = meta.generation(pod)
    return result
