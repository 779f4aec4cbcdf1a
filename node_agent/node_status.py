"""The Node object: who this node is, what it offers and how it is; pure but for the facts handed in.

Reasons and messages are upstream's (pkg/kubelet/nodestatus/setters.go).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from argosy.host import rfc3339
from argosy.objects import conditions, meta, quantity
from argosy.objects.types import JsonObject
from node_agent.config import Config
from node_agent.runtime.runtime import Image

KUBELET_VERSION = "v1.36.0"
"""Of the API that is spoken."""
MAX_IMAGES = 50
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


@dataclass(frozen=True)
class Pressure:
    """Whether the node runs short."""

    memory: bool = False
    disk: bool = False
    pids: bool = False


class Lasting:
    """Shortages that are told until they have been over for a while, so that a node at its limit does not flap."""

    def __init__(self, transition_s: float) -> None:
        self._transition_s = transition_s
        self._seen_at: dict[str, float] = {}

    def __call__(self, pressure: Pressure, now: float) -> Pressure:
        """`pressure` is what is measured now, `now` monotonic."""
        for name in ("memory", "disk", "pids"):
            if getattr(pressure, name):
                self._seen_at[name] = now
        told = {name: at == now or now - at < self._transition_s for name, at in self._seen_at.items()}
        return Pressure(told.get("memory", False), told.get("disk", False), told.get("pids", False))


@dataclass(frozen=True)
class SystemInfo:
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    kernel: str = ""
    os_image: str = ""
    architecture: str = "amd64"


@dataclass(frozen=True)
class Level:
    """How much of something there is now."""

    available: int
    capacity: int


@dataclass(frozen=True)
class Capacity:
    cpus: float
    memory_bytes: int
    storage_bytes: int


class Facts(Protocol):
    """What the machine says of itself."""

    def capacity(self) -> Capacity: ...

    def signals(self) -> Mapping[str, Level]:
        """How much there is of what can run short, by eviction signal (node_agent.pressure). Raises OSError."""

    def system(self) -> SystemInfo: ...


@dataclass(frozen=True)
class Present:
    """How the node is now."""

    now: float
    ready: bool
    not_ready_message: str
    pressure: Pressure
    runtime_version: str
    """Such as containerd://1.6.20."""
    images: Sequence[Image] = field(default_factory=tuple)


def architecture() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def capacity_list(config: Config, capacity: Capacity) -> dict[str, str]:
    """Capacity, and allocatable too: what the node declares is enforced by the cgroup that it lives in."""
    return {
        "cpu": quantity.of_milli(round((config.node_cpus or capacity.cpus) * 1000)),
        "memory": quantity.of_bytes(config.node_memory_bytes or capacity.memory_bytes),
        "pods": str(config.max_pods),
        "ephemeral-storage": quantity.of_bytes(capacity.storage_bytes // 1024 * 1024),
    }


def node_labels(config: Config, arch: str) -> dict[str, str]:
    """Raises ValueError for a malformed --node-labels."""
    labels = {
        "kubernetes.io/hostname": config.node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": arch,
    }
    for text in config.node_labels:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise ValueError(f"--node-labels: {text!r} is not KEY=VALUE")
        labels[key] = value
    return labels


def taint(text: str) -> JsonObject:
    """`KEY=VALUE:EFFECT` or `KEY:EFFECT`. Raises ValueError."""
    pair, colon, effect = text.rpartition(":")
    key, equals, value = pair.partition("=")
    if not colon or not key or not effect:
        raise ValueError(f"--register-with-taints: {text!r} is not KEY=VALUE:EFFECT")
    return {"key": key, **({"value": value} if equals else {}), "effect": effect}


def new_node(config: Config, arch: str) -> JsonObject:
    """Raises ValueError for malformed --node-labels or --register-with-taints."""
    taints = [taint(text) for text in config.register_with_taints]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": config.node_name,
            "labels": node_labels(config, arch),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {"taints": taints} if taints else {},
    }


def node_status(
    config: Config, old: JsonObject, capacity: Mapping[str, str], system: SystemInfo, present: Present
) -> JsonObject:
    """The whole status; `old` is the last one, for transition times and for resources that others wrote into it."""
    extended = {name: value for name, value in (old.get("capacity") or {}).items() if name not in capacity}
    addresses = [{"type": "InternalIP", "address": ip} for ip in config.node_ips]
    status: JsonObject = {
        "addresses": [*addresses, {"type": "Hostname", "address": config.node_name}],
        "capacity": {**extended, **capacity},
        "allocatable": {**extended, **capacity},
        "nodeInfo": {
            "machineID": system.machine_id,
            "systemUUID": system.system_uuid,
            "bootID": system.boot_id,
            "kernelVersion": system.kernel,
            "osImage": system.os_image,
            "containerRuntimeVersion": present.runtime_version,
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": system.architecture,
        },
        "images": [
            {"names": [*image.digests, *image.tags], "sizeBytes": image.size_bytes}
            for image in sorted(present.images, key=lambda item: (-item.size_bytes, item.id))[:MAX_IMAGES]
        ],
        "conditions": _conditions(old, present),
    }
    port = config.listen.rpartition(":")[2]
    if port.isdigit():
        status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": int(port)}}
    return status


def _conditions(old: JsonObject, present: Present) -> list[JsonObject]:
    at = rfc3339(present.now)
    pressure = present.pressure
    found = [
        _pressure("MemoryPressure", pressure.memory, at, "InsufficientMemory", "insufficient memory available",
                  "SufficientMemory", "sufficient memory available"),
        _pressure("DiskPressure", pressure.disk, at, "DiskPressure", "disk pressure", "NoDiskPressure",
                  "no disk pressure"),
        _pressure("PIDPressure", pressure.pids, at, "InsufficientPID", "insufficient PID available",
                  "SufficientPID", "sufficient PID available"),
    ]  # fmt: skip
    if present.ready:
        found.append(conditions.make("Ready", True, at, "KubeletReady", "kubelet is posting ready status"))
    else:
        found.append(conditions.make("Ready", False, at, "KubeletNotReady", present.not_ready_message))
    result: list[JsonObject] = list(old.get("conditions") or [])
    for condition in found:
        result = conditions.with_condition(result, {**condition, "lastHeartbeatTime": at})
    return result


def _pressure(
    type_: str, pressed: bool, at: str, bad: str, bad_message: str, good: str, good_message: str
) -> JsonObject:
    reason, message = (bad, bad_message) if pressed else (good, good_message)
    return conditions.make(type_, pressed, at, f"KubeletHas{reason}", f"kubelet has {message}")


def same_but_heartbeats(left: JsonObject, right: JsonObject) -> bool:
    def bare(status: JsonObject) -> JsonObject:
        shown = [
            {key: value for key, value in item.items() if key != "lastHeartbeatTime"}
            for item in status.get("conditions") or []
        ]
        return {**status, "conditions": shown}

    return bare(left) == bare(right)


def pod_cidrs(node: JsonObject) -> list[str]:
    spec = meta.spec(node)
    return [str(cidr) for cidr in spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])]
