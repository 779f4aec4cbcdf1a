"""The machine under a node agent: what a hollow node replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from argosy.http import HttpClient
from argosy.objects.types import JsonObject
from node_agent.node_status import Facts
from node_agent.probes.probe import Prober
from node_agent.runtime.runtime import ContainerStatus, Runtime
from node_agent.seams import Cgroups, PodFiles, Volumes


class NodeNetwork(Protocol):
    """Addresses for this node's pods, and ways to the pods of other nodes."""

    def configure(self, pod_cidrs: Sequence[str]) -> None:
        """Hand the node's pod ranges to the runtime; idempotent. Raises OSError."""

    async def route(self, nodes: Sequence[JsonObject]) -> None:
        """Make routes to the pod ranges of all `nodes` be there, and no others. Raises OSError."""

    def release(self, sandbox_ids: Sequence[str]) -> None:
        """Free addresses that are held by none of these. Raises OSError."""

    async def close(self) -> None: ...


class Logs(Protocol):
    """Keeps containers' logs small."""

    def oversized(self, status: ContainerStatus, log_path: str) -> bool: ...

    def rotate(self, log_path: str) -> None:
        """Move the log aside and drop the oldest; the runtime must reopen it then. Raises OSError."""


class Boots(Protocol):
    def is_new(self) -> bool:
        """Whether the node has started since the last call of `remember`: nothing that ran then runs now."""

    def remember(self) -> None: ...


@dataclass(frozen=True)
class Machine:
    runtime: Runtime
    volumes_of: VolumesOf
    files: PodFiles
    cgroups: Cgroups
    facts: Facts
    network: NodeNetwork
    prober: Prober
    http: HttpClient
    boots: Boots
    logs: Logs | None = None
    local_path_dir: str = ""
    """Where claims' volumes are made on this node's disk; empty: nowhere."""


class VolumesOf(Protocol):
    def __call__(self, source: ObjectSource) -> Volumes:
        """The node's volumes, reading ConfigMaps, Secrets and tokens from `source`."""


class ObjectSource(Protocol):
    """Objects that pods refer to."""

    async def config_map(self, namespace: str, name: str) -> JsonObject | None:
        """None when it does not exist. Raises ApiError."""

    async def secret(self, namespace: str, name: str) -> JsonObject | None:
        """None when it does not exist. Raises ApiError."""

    async def claim(self, namespace: str, name: str) -> JsonObject | None:
        """A PersistentVolumeClaim; None when it does not exist. Raises ApiError."""

    async def volume(self, name: str) -> JsonObject | None:
        """A PersistentVolume; None when it does not exist. Raises ApiError."""

    def node_labels(self) -> Mapping[str, str]:
        """Of this node."""

    async def token(self, pod: JsonObject, audience: str, expiration_s: int) -> tuple[str, float]:
        """A service account token bound to the pod, and when it expires (Unix seconds). Raises ApiError."""
