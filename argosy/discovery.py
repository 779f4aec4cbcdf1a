"""Which resources a cluster's API has now: built-in ones, custom ones, and those of aggregated servers.

    found = await discover(client)
    for each in found.resources: client.resource(each.group, each.version, each.plural)

Each resource comes once, in the version that its group prefers. Source: apidiscovery.k8s.io/v2 (KEP-3352).
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.client import Client
from argosy.objects.types import JsonObject

PATHS = ("/api", "/apis")


@dataclass(frozen=True)
class ApiResource:
    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: frozenset[str]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True)
class Discovery:
    resources: tuple[ApiResource, ...]
    stale: tuple[str, ...] = ()
    """`GROUP/VERSION` of what could not be asked of now: what is known of it is old, or nothing."""


async def discover(client: Client) -> Discovery:
    """Raises ApiError."""
    found: list[ApiResource] = []
    stale: list[str] = []
    for path in PATHS:
        document = await client.get_raw(path)
        for item in document.get("items") or ():
            _group(item, found, stale)
    return Discovery(tuple(found), tuple(stale))


def _group(item: JsonObject, found: list[ApiResource], stale: list[str]) -> None:
    group = str((item.get("metadata") or {}).get("name") or "")
    seen: set[str] = set()
    for version in item.get("versions") or ():
        name = str(version.get("version", ""))
        if version.get("freshness") == "Stale":
            stale.append(f"{group}/{name}")
        for resource in version.get("resources") or ():
            plural = str(resource.get("resource", ""))
            if not plural or plural in seen:
                continue
            seen.add(plural)
            found.append(
                ApiResource(
                    group,
                    name,
                    plural,
                    str((resource.get("responseKind") or {}).get("kind", "")),
                    resource.get("scope") == "Namespaced",
                    frozenset(resource.get("verbs") or ()),
                )
            )
