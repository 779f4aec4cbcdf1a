"""Which groups and versions other servers serve: the APIServices of the cache, indexed by group and version.

The index is made anew when the cache has changed, which every look-up notices by one comparison: requests for
everything else pay no more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from argosy.kinds import client_config
from argosy.kinds.api_service import AVAILABLE
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject
from control_plane.apiserver.resources import Resources

GROUP: Final = "apiregistration.k8s.io"
PLURAL: Final = "apiservices"


@dataclass(frozen=True)
class Remote:
    """A group and version that another server serves."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    bundle: str
    """Base64 of PEM; empty: the machine's authorities."""
    insecure: bool
    available: bool
    priority: tuple[int, int]
    """Of its group and of its version."""

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def host(self) -> str:
        """Whose certificate the server shows."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def backend(self) -> tuple[str, str, int]:
        return self.namespace, self.service, self.port


def remote_of(obj: JsonObject) -> Remote | None:
    """None for what this server serves itself."""
    spec = meta.spec(obj)
    service = spec.get("service")
    if service is None:
        return None
    return Remote(
        meta.name(obj),
        str(spec.get("group") or ""),
        str(spec.get("version")),
        str(service.get("namespace")),
        str(service.get("name")),
        int(service.get("port") or client_config.PORT),
        str(spec.get("caBundle") or ""),
        bool(spec.get("insecureSkipTLSVerify")),
        conditions.is_true(obj, AVAILABLE),
        (int(spec.get("groupPriorityMinimum") or 0), int(spec.get("versionPriority") or 0)),
    )


class ApiServices:
    def __init__(self, resources: Resources) -> None:
        served = resources.stored(GROUP, PLURAL)
        self._cache = served.cache if served is not None else None
        self._seen = (-1, -1)
        self._remotes: dict[tuple[str, str], Remote] = {}

    @property
    def remotes(self) -> dict[tuple[str, str], Remote]:
        """By group and version. Not to be changed."""
        cache = self._cache
        if cache is not None and (cache.changed_revision, cache.oldest) != self._seen:
            self._seen = (cache.changed_revision, cache.oldest)
            found = (remote_of(entry.obj) for entry in cache.entries())
            self._remotes = {(item.group, item.version): item for item in found if item is not None}
        return self._remotes

    def remote(self, group: str, version: str) -> Remote | None:
        return self.remotes.get((group, version))

    def group(self, group: str) -> list[Remote]:
        return [item for item in self.remotes.values() if item.group == group]
