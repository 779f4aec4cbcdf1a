"""Which resources a cluster's API has now: built-in ones, custom ones, and those of aggregated servers.

    found = await discover(client)
    for each in found.resources: client.resource(each.group, each.version, each.plural)

Each resource comes once, in the version that its group prefers. Source: apidiscovery.k8s.io/v2 (KEP-3352).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from argosy.objects import status as errors
from argosy.objects.types import JsonObject

if TYPE_CHECKING:
    from argosy.client import Client, Resource
    from argosy.kinds.kind import Kind

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
    singular: str = ""
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def is_called(self, name: str) -> bool:
        return name in (self.plural, self.kind, self.singular or self.kind.lower(), *self.short_names)


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
                    str(resource.get("singularResource") or ""),
                    tuple(str(each) for each in resource.get("shortNames") or ()),
                )
            )


def _split(name: str) -> tuple[str, str | None]:
    """(name, group): `deployments.apps`; None where no group is asked for."""
    first, dot, group = name.partition(".")
    return first, group if dot else None


def _unknown(name: str) -> errors.ApiError:
    return errors.status_error(404, "NotFound", f'the server doesn\'t have a resource type "{name}"')


def _handle(client: Client, group: str, version: str, plural: str) -> Resource:
    return client.pods if (group, plural) == ("", "pods") else client.resource(group, version, plural)


def builtin(client: Client, name: str) -> Resource:
    """Raises ApiError 404."""
    from argosy.kinds import ALL

    short, group = _split(name)
    for kind in ALL:
        if _is_called(kind, short) and group in (None, kind.group):
            return _handle(client, kind.group, kind.version, kind.plural)
    raise _unknown(name)


def _is_called(kind: Kind, name: str) -> bool:
    return name in (kind.kind, kind.plural, kind.singular, *kind.short_names)


async def find(client: Client, name: str) -> Resource:
    """The first group that serves it wins, as the cluster orders them. Raises ApiError."""
    short, group = _split(name)
    for each in (await discover(client)).resources:
        if each.is_called(short) and group in (None, each.group):
            return _handle(client, each.group, each.version, each.plural)
    raise _unknown(name)


async def resource_of(client: Client, obj: JsonObject) -> Resource:
    """Raises ApiError."""
    from argosy.kinds import KINDS

    first, slash, rest = str(obj.get("apiVersion", "")).partition("/")
    group, version = (first, rest) if slash else ("", first)
    kind = str(obj.get("kind", ""))
    known = KINDS.kind(group, kind)
    if known is not None and version in (known.version, *(each.version for each in known.versions)):
        return _handle(client, group, version, known.plural)
    for each in (await discover(client)).resources:
        if (each.group, each.kind) == (group, kind):
            return _handle(client, group, version, each.plural)
    version_asked = str(obj.get("apiVersion", ""))
    message = f'no matches for kind "{kind}" in version "{version_asked}"'
    raise errors.status_error(404, "NotFound", message)
