"""What pod workers need from the machine, as protocols: a real node and a hollow one implement them.

`Tools` is one node's set, made by `__main__` (real) or `hollow.py`, and shared by all its pod workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from argosy.host import Host
from argosy.http import HttpClient
from argosy.objects.types import JsonObject
from node_agent.environment import Lookup, Surroundings
from node_agent.resources import PodLimits
from node_agent.runtime.runtime import ContainerStatus, Dns, Mount, Runtime


class VolumeError(Exception):
    """A volume that cannot be set up now. `final` when waiting cannot help (an unsupported source)."""

    def __init__(
        self, volume: str, message: str, *, final: bool = False, quiet: bool = False, stale: bool = False
    ) -> None:
        super().__init__(message)
        self.volume = volume
        self.message = message
        self.final = final
        self.quiet = quiet
        """Likely to pass by itself in a moment: told as an event only when it lasts."""
        self.stale = stale
        """All volumes are there, one as it was before: its contents cannot be brought up to date now."""


class Volumes(Protocol):
    """The volumes of pods. `set_up` is idempotent and brings contents up to date."""

    async def set_up(self, pod: JsonObject, around: Surroundings) -> None:
        """Raises VolumeError."""

    def mounts(self, pod: JsonObject, container: JsonObject, env: Mapping[str, str]) -> list[Mount]:
        """volumeMounts as the runtime takes them. Raises VolumeError."""

    async def usage_bytes(self, pod: JsonObject) -> Mapping[str, int]:
        """What the pod's emptyDirs hold on disk, by volume name. Raises OSError."""

    def refresh_s(self, pod: JsonObject) -> float | None:
        """Seconds until `set_up` must be called again though nothing changed (tokens); None for never."""

    def tear_down(self, pod_uid: str) -> None:
        """Unmount and delete everything; idempotent. Raises OSError."""

    def known(self) -> list[str]:
        """Uids of pods that have anything on this machine."""


class PodFiles(Protocol):
    """What a pod has on the node beside volumes: log folders, hosts file, termination messages."""

    def prepare(self, pod: JsonObject) -> str:
        """Make its folders; gives the log directory. Raises OSError."""

    def container_mounts(
        self, pod: JsonObject, container: JsonObject, attempt: int, pod_ips: Sequence[str]
    ) -> list[Mount]:
        """The hosts file and the termination log. Raises OSError."""

    def termination_message(self, pod: JsonObject, container: JsonObject | None, status: ContainerStatus) -> str: ...

    def last_attempt(self, pod: JsonObject, container_name: str) -> int:
        """The highest attempt that left a log; -1 for none."""

    def log_bytes(self, pod: JsonObject, container_name: str) -> int:
        """What its logs take, rotated ones too."""

    def node_dns(self) -> Dns: ...

    def forget_attempt(self, pod: JsonObject, container_name: str, attempt: int) -> None:
        """Delete a removed container's log."""

    def allocation(self, uid: str) -> JsonObject | None:
        """What was last kept of a pod's allocation; None when nothing was, or it cannot be read."""

    def keep_allocation(self, uid: str, content: JsonObject) -> None:
        """At once whole or not at all. Raises OSError."""

    def remove(self, uid: str) -> None:
        """Everything of a pod that is gone, logs too."""

    def known(self) -> list[str]:
        """Uids of pods that have anything here."""


class Cgroups(Protocol):
    def parent(self, pod_uid: str, qos: str) -> str:
        """The cgroup that the pod's containers live under."""

    def make(self, pod_uid: str, qos: str, limits: PodLimits) -> None:
        """Raises OSError."""

    def memory_bytes(self, pod_uid: str, qos: str, container_id: str = "") -> int:
        """What a pod, or one of its containers, uses now, caches too. Raises OSError, ValueError."""

    def weigh(self, burstable_milli: int) -> None:
        """What Burstable pods together ask for, in thousandths of a CPU: their class's weight. Raises OSError."""

    def remove(self, pod_uid: str) -> None:
        """Wherever it is; idempotent. Raises OSError while processes are left."""

    def known(self) -> list[str]:
        """Uids of pods that have a cgroup."""


class Recorder(Protocol):
    """`argosy.events.EventRecorder`, as far as it is used here."""

    def event(
        self,
        obj: JsonObject,
        type: str,  # noqa: A002  # the field's own word
        reason: str,
        message: str,
        *,
        field_path: str = "",
    ) -> None: ...


@dataclass(frozen=True)
class PodSettings:
    """What of the node's configuration pods see."""

    node_name: str
    host_ips: Sequence[str]
    cluster_dns: Sequence[str] = ()
    cluster_domain: str = "cluster.local"
    memory_bytes: int = 0
    """Of the node, for OOM scores."""
    allocatable: Mapping[str, str] = field(default_factory=dict)
    runtime_name: str = "containerd"
    dead_containers_kept: int = 1
    """Per container name, for `logs --previous` and lastState."""


@dataclass(frozen=True)
class Tools:
    host: Host
    settings: PodSettings
    runtime: Runtime
    volumes: Volumes
    files: PodFiles
    cgroups: Cgroups
    recorder: Recorder
    http: HttpClient
    lookup: Lookup
    services: Callable[[], Sequence[JsonObject] | None]
    """All services; None before they were read once."""
