"""What a volume source is: one file per source, all listed in `sources.ALL`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from argosy.host import Clock
from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.environment import Surroundings
from node_agent.machine import ObjectSource
from node_agent.resources import all_containers
from node_agent.seams import VolumeError
from node_agent.volumes.tokens import Tokens

DEFAULT_MODE = 0o644


@dataclass(frozen=True)
class Entry:
    """One file of a written volume."""

    content: bytes
    mode: int
    user: int = 0
    """Its owner."""


Payload = Mapping[str, Entry]
"""Files by path relative to the volume."""


@dataclass(frozen=True)
class Setting:
    """One volume of one pod, and what its source may use."""

    pod: JsonObject
    volume: JsonObject
    path: str
    """The folder where the volume belongs on the node."""
    around: Surroundings
    objects: ObjectSource
    tokens: Tokens
    clock: Clock

    @property
    def name(self) -> str:
        return str(self.volume["name"])

    @property
    def fs_group(self) -> int | None:
        group = (meta.spec(self.pod).get("securityContext") or {}).get("fsGroup")
        return None if group is None else int(group)

    @property
    def fs_user(self) -> int | None:
        """The one user that all containers run as, when the pod says so (upstream `FsUserFrom`)."""
        outer = (meta.spec(self.pod).get("securityContext") or {}).get("runAsUser")
        users = {(item.get("securityContext") or {}).get("runAsUser", outer) for item in all_containers(self.pod)}
        return next(iter(users)) if len(users) == 1 else None

    def error(self, message: str, *, final: bool = False) -> VolumeError:
        return VolumeError(self.name, message, final=final)


class Source(Protocol):
    field: str
    """The volume's field, such as configMap."""
    folder: str
    """The plugin's folder name, as upstream has it."""

    async def set_up(self, setting: Setting) -> str:
        """Bring the volume up to date; gives its path on the node. Raises VolumeError, ApiError, OSError."""


def checked_path(setting: Setting, path: str) -> str:
    """A relative path that stays inside the volume. Raises VolumeError."""
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise setting.error(f"invalid path {path!r}: must be relative, without '..'")
    return "/".join(part for part in parts if part not in ("", "."))
