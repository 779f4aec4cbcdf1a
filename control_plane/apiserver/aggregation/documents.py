"""What aggregated servers say about themselves: their resources, and their OpenAPI documents.

Asked when a server became available and every minute; what was said last stays, marked stale, while a server is
away (k8s.io/kube-aggregator `pkg/apiserver/handler_discovery.go`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.streaming.http1 import HttpFailure
from control_plane.apiserver.aggregation.connector import AGGREGATOR, Connector
from control_plane.apiserver.aggregation.services import ApiServices, Remote

TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 8 << 20
ACCEPT: Final = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


class Unusable(Exception):
    """A server's answer, or its absence; the text says what."""


@dataclass
class Known:
    """What is known of one group and version."""

    resources: list[JsonObject] = field(default_factory=list)
    """As apidiscovery.k8s.io has them."""
    fresh: bool = False
    openapi_v3: str = ""
    """The relative URL of its document, with its hash; empty when it has none."""


class Documents:
    """`version` counts changes, for those who cache what they make of it."""

    def __init__(self, services: ApiServices, connector: Connector) -> None:
        self._services = services
        self._connector = connector
        self._known: dict[str, Known] = {}
        self._openapi_v2: dict[tuple[str, str, int], JsonObject] = {}
        self.version = 0

    def known(self, remote: Remote) -> Known:
        return self._known.get(remote.name) or Known()

    def openapi_v2(self) -> list[JsonObject]:
        """Each server's document, of those that have one."""
        backends = dict.fromkeys(remote.backend for remote in self._services.remotes.values())
        return [self._openapi_v2[key] for key in sorted(backends) if key in self._openapi_v2]

    def forget(self, name: str) -> None:
        if self._known.pop(name, None) is not None:
            self.version += 1
        living = {remote.backend for remote in self._services.remotes.values()}
        for key in [key for key in self._openapi_v2 if key not in living]:
            del self._openapi_v2[key]

    def stale(self, name: str) -> None:
        """The server is away."""
        known = self._known.setdefault(name, Known())
        if known.fresh:
            known.fresh = False
            self.version += 1

    async def refresh(self, remote: Remote) -> None:
        """Ask anew. Raises Unusable; what was known is marked stale then."""
        try:
            resources = await self._resources(remote)
        except Unusable:
            self.stale(remote.name)
            raise
        found = Known(resources, True, await self._openapi_v3(remote))
        if self.known(remote) != found:
            self._known[remote.name] = found
            self.version += 1
        await self._refresh_openapi_v2(remote)

    async def _resources(self, remote: Remote) -> list[JsonObject]:
        if remote.group:
            status, body = await self.fetch(remote, "/apis", ACCEPT)
            if status == 200 and (found := _aggregated(body, remote)) is not None:
                return found
        status, body = await self.fetch(remote, remote.path)
        if status != 200:
            raise Unusable(f"{remote.path} answered {status}")
        return _plain(body, remote)

    async def _openapi_v3(self, remote: Remote) -> str:
        try:
            status, body = await self.fetch(remote, "/openapi/v3")
            listed = _loaded(body).get("paths") if status == 200 else None
        except Unusable:
            return ""
        item = listed.get(remote.path.strip("/")) if isinstance(listed, dict) else None
        url = item.get("serverRelativeURL") if isinstance(item, dict) else None
        ours = isinstance(url, str) and url.partition("?")[0] == f"/openapi/v3{remote.path}"
        return str(url) if ours else ""

    async def _refresh_openapi_v2(self, remote: Remote) -> None:
        """A server without one is as good as any."""
        try:
            status, body = await self.fetch(remote, "/openapi/v2")
            found = _loaded(body) if status == 200 else {}
        except Unusable:
            return
        if isinstance(found.get("paths"), dict) and isinstance(found.get("definitions"), dict):
            if self._openapi_v2.get(remote.backend) != found:
                self._openapi_v2[remote.backend] = found
                self.version += 1
        elif self._openapi_v2.pop(remote.backend, None) is not None:
            self.version += 1

    async def fetch(self, remote: Remote, path: str, accept: str = "application/json") -> tuple[int, bytes]:
        """(status, body). Raises Unusable."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._connector.open(remote, AGGREGATOR, "GET", path, [("Accept", accept)])
                try:
                    return answer.status, await answer.read(MAX_BYTES)
                finally:
                    answer.close()
        except TimeoutError:
            raise Unusable(f"{path} was not answered in time") from None
        except ApiError as error:
            raise Unusable(error.message) from None
        except HttpFailure as error:
            raise Unusable(str(error)) from None


def _loaded(body: bytes) -> JsonObject:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unusable(f"an answer is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Unusable("an answer is no object")
    return found


def _aggregated(body: bytes, remote: Remote) -> list[JsonObject] | None:
    """The resources in an APIGroupDiscoveryList; None when it is none, or knows nothing of the group."""
    found = _loaded(body)
    if found.get("kind") != "APIGroupDiscoveryList":
        return None
    for group in _dicts(found.get("items")):
        if (group.get("metadata") or {}).get("name") != remote.group:
            continue
        for version in _dicts(group.get("versions")):
            if version.get("version") == remote.version:
                return [item for item in _dicts(version.get("resources")) if isinstance(item.get("resource"), str)]
    return None


def _plain(body: bytes, remote: Remote) -> list[JsonObject]:
    """An APIResourceList in the aggregated form (k8s.io/apiserver `endpoints.ConvertGroupVersionIntoToDiscovery`)."""
    found = _loaded(body)
    if found.get("kind") != "APIResourceList":
        raise Unusable(f"{remote.path} is no APIResourceList")
    result: dict[str, JsonObject] = {}
    subresources: list[tuple[str, str, JsonObject]] = []
    for item in _dicts(found.get("resources")):
        name = item.get("name")
        if not isinstance(name, str):
            continue
        parent, slash, sub = name.partition("/")
        if slash:
            subresources.append((parent, sub, item))
            continue
        made: JsonObject = {
            "resource": name,
            "responseKind": _kind(item, remote),
            "scope": "Namespaced" if item.get("namespaced") else "Cluster",
            "singularResource": item.get("singularName") or "",
            "verbs": item.get("verbs") or [],
        }
        for key in ("shortNames", "categories"):
            if item.get(key):
                made[key] = item[key]
        result[name] = made
    for parent, sub, item in subresources:
        scope = "Namespaced" if item.get("namespaced") else "Cluster"
        holder = result.setdefault(parent, {"resource": parent, "scope": scope, "singularResource": "", "verbs": []})
        made = {"subresource": sub, "responseKind": _kind(item, remote), "verbs": item.get("verbs") or []}
        holder.setdefault("subresources", []).append(made)
    return list(result.values())


def _kind(item: JsonObject, remote: Remote) -> JsonObject:
    return {
        "group": item.get("group") or remote.group,
        "version": item.get("version") or remote.version,
        "kind": item.get("kind") or "",
    }


def _dicts(value: Any) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
