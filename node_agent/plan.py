"""What to do next for a pod that should run: a pure function of its spec and of what the runtime shows.

The worker calls it on every pass and carries it out; it is level-triggered, so a lost notice costs time only. The
rules are the kubelet's (upstream kuberuntime `computePodActions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from argosy.objects import generate, meta
from argosy.objects.types import JsonObject
from node_agent.observed import Observed
from node_agent.resources import is_sidecar
from node_agent.runtime.runtime import HASH_ANNOTATION, ContainerStatus, State


@dataclass(frozen=True)
class Kill:
    """End one container; `reason` is the probe's or change's word for the log."""

    container: ContainerStatus
    message: str


@dataclass(frozen=True)
class Plan:
    kill_pod: bool = False
    """End every container and the sandbox."""
    create_sandbox: bool = False
    sandbox_attempt: int = 0
    kill: Sequence[Kill] = ()
    init: Sequence[JsonObject] = ()
    """Init containers (and sidecars) to start now."""
    start: Sequence[JsonObject] = ()
    """Main containers to start now."""
    ephemeral: Sequence[JsonObject] = ()
    """Ephemeral containers to start now."""
    initialized: bool = False


@dataclass(frozen=True)
class Health:
    """What the probes say, by container id."""

    failed: Mapping[str, str] = field(default_factory=dict)
    """Containers to be killed: `liveness` or `startup`."""
    started: Mapping[str, bool] = field(default_factory=dict)
    resized: Mapping[str, str] = field(default_factory=dict)
    """Containers that must start anew to get their resources, and the message of it."""


def restart_policy(pod: JsonObject, container: JsonObject) -> str:
    """Always, OnFailure or Never; a container may have its own."""
    return str(container.get("restartPolicy") or meta.spec(pod).get("restartPolicy") or "Always")


def container_hash(container: JsonObject) -> str:
    """Changes when the container must be made anew: name and image, the only mutable part of a running pod."""
    return generate.hash_object({"name": container["name"], "image": container.get("image", "")})


def should_restart(pod: JsonObject, container: JsonObject, status: ContainerStatus | None) -> bool:
    if status is None:
        return True
    if status.state is State.RUNNING:
        return False
    if status.state in (State.CREATED, State.UNKNOWN):
        return True
    for rule in container.get("restartPolicyRules") or []:
        codes = rule.get("exitCodes") or {}
        inside = status.exit_code in (codes.get("values") or [])
        if inside == (codes.get("operator") == "In"):
            return bool(rule.get("action") == "Restart")
    policy = restart_policy(pod, container)
    return policy == "Always" or (policy == "OnFailure" and status.exit_code != 0)


def _may_restart(pod: JsonObject) -> bool:
    containers = meta.spec(pod).get("containers") or []
    return any(restart_policy(pod, item) != "Never" or item.get("restartPolicyRules") for item in containers)


def plan(pod: JsonObject, seen: Observed, health: Health) -> Plan:
    spec = meta.spec(pod)
    inits: list[JsonObject] = spec.get("initContainers") or []
    mains: list[JsonObject] = spec.get("containers") or []
    if _sandbox_lost(pod, seen):
        return _anew(pod, seen, inits, mains)
    ephemeral = tuple(item for item in spec.get("ephemeralContainers") or [] if seen.latest(item["name"]) is None)
    init = replace(_init_step(pod, seen, health, inits, mains), ephemeral=ephemeral)
    if init.kill_pod or not init.initialized:
        return init
    kill, start, kept = list(init.kill), [], 0
    for container in mains:
        status = seen.active(container["name"])
        if status is None or status.state is not State.RUNNING:
            if should_restart(pod, container, status or _before(pod, container, seen)):
                start.append(container)
                if status is not None and status.state is State.UNKNOWN:
                    kill.append(
                        Kill(status, f"Container {status.name} is in unknown state, try killing it before restart")
                    )
            continue
        message, restart = _trouble(pod, container, status, health)
        if not message:
            kept += 1
            continue
        if restart:
            start.append(container)
        kill.append(Kill(status, message))
    if kept == 0 and not start:
        return Plan(kill_pod=True, initialized=True)
    return replace(init, kill=tuple(kill), start=tuple(start))


def _sandbox_lost(pod: JsonObject, seen: Observed) -> bool:
    sandbox = seen.ready_sandbox
    if sandbox is None or sum(1 for item in seen.sandboxes if item.ready) > 1:
        return True
    host_network = bool(meta.spec(pod).get("hostNetwork"))
    return sandbox.host_network != host_network or (not host_network and not sandbox.ips)


def _anew(pod: JsonObject, seen: Observed, inits: list[JsonObject], mains: list[JsonObject]) -> Plan:
    """No usable sandbox: end what is left, and begin again if something is still to be done."""
    attempt = seen.sandbox.attempt + 1 if seen.sandbox else 0
    if not _may_restart(pod) and attempt and seen.containers:
        return Plan(kill_pod=True)
    left = [
        container
        for container in mains
        if (status := seen.latest(container["name"])) is None
        or status.state is not State.EXITED
        or should_restart(pod, container, status)
    ]
    if not left:
        return Plan(kill_pod=True, initialized=True)
    first = tuple(inits[:1])
    if first:
        return Plan(kill_pod=True, create_sandbox=True, sandbox_attempt=attempt, init=first)
    return Plan(kill_pod=True, create_sandbox=True, sandbox_attempt=attempt, start=tuple(left), initialized=True)


def _before(pod: JsonObject, container: JsonObject, seen: Observed) -> ContainerStatus | None:
    """A container that ended in an earlier sandbox counts, when its policy says that it stays ended."""
    status = seen.latest(container["name"])
    if status is not None and status.state is State.EXITED and not should_restart(pod, container, status):
        return status
    return None


def _trouble(pod: JsonObject, container: JsonObject, status: ContainerStatus, health: Health) -> tuple[str, bool]:
    """Why a running container must end ("" when it need not), and whether it starts again: a sidecar always does."""
    name = status.name
    expected = status.annotations.get(HASH_ANNOTATION, "")
    if expected and expected != container_hash(container):
        return f"Container {name} definition changed, will be restarted", True
    restart = restart_policy(pod, container) != "Never"
    failed = health.failed.get(status.id)
    if failed:
        return f"Container {name} failed {failed} probe" + (", will be restarted" if restart else ""), restart
    resized = health.resized.get(status.id, "")
    return resized, bool(resized)


def _init_step(
    pod: JsonObject, seen: Observed, health: Health, inits: list[JsonObject], mains: list[JsonObject]
) -> Plan:
    """One step of the init sequence: each runs to its end, a sidecar only until it has started."""
    begun = any(seen.active(container["name"]) is not None for container in mains)
    kill: list[Kill] = []
    start: list[JsonObject] = []
    for container in inits:
        status = seen.active(container["name"])
        if is_sidecar(container):
            if status is None or status.state is not State.RUNNING:
                if status is not None and status.state is State.UNKNOWN:
                    kill.append(Kill(status, f"Init container {status.name} is in unknown state, try killing it"))
                start.append(container)
                if not begun:
                    return Plan(kill=tuple(kill), init=tuple(start))
                continue
            message, _ = _trouble(pod, container, status, health)
            if message:
                kill.append(Kill(status, message))
                start.append(container)
            if not begun and (message or not health.started.get(status.id, False)):
                return Plan(kill=tuple(kill), init=tuple(start))
            continue
        if begun:
            continue
        if status is None or status.state is State.CREATED:
            return Plan(kill=tuple(kill), init=(*start, container))
        if status.state is State.RUNNING:
            return Plan(kill=tuple(kill), init=tuple(start))
        if status.state is State.EXITED and status.exit_code == 0:
            continue
        lost = status.state is State.UNKNOWN and restart_policy(pod, container) == "Never"
        if lost or not should_restart(pod, container, status):
            return Plan(kill_pod=True)
        if status.state is State.UNKNOWN:
            kill.append(Kill(status, f"Init container {status.name} is in unknown state, try killing it"))
        return Plan(kill=tuple(kill), init=(*start, container))
    return Plan(kill=tuple(kill), init=tuple(start), initialized=True)
