"""Discovery of everything: what this server serves and what aggregated servers said of themselves, in one.

The same methods as `discovery.Discovery`, whose documents it passes on as they are while nothing is aggregated.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson

from argosy.objects.types import JsonObject
from control_plane.apiserver.aggregation import priorities
from control_plane.apiserver.aggregation.documents import Documents
from control_plane.apiserver.aggregation.services import ApiServices, Remote
from control_plane.apiserver.discovery import Discovery
from control_plane.apiserver.resources import version_rank

_FIRST: Final = 1 << 30


class MergedDiscovery:
    def __init__(self, own: Discovery, services: ApiServices, documents: Documents) -> None:
        self._own = own
        self._services = services
        self._documents = documents

    def groups(self) -> list[tuple[str, list[str]]]:
        """Named groups with their versions, in order."""
        found = [(group, versions) for group, versions in self._merged(self._own.groups()) if group]
        return [(group, [version for version, _ in versions]) for group, versions in found]

    def core_versions(self) -> bytes:
        return self._own.core_versions()

    def group_list(self) -> bytes:
        if not self._services.remotes:
            return self._own.group_list()
        groups = [_group(group, versions) for group, versions in self.groups()]
        return orjson.dumps({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})

    def group(self, name: str) -> bytes | None:
        if not self._services.group(name):
            return self._own.group(name)
        versions = dict(self.groups()).get(name)
        if not versions:
            return None
        return orjson.dumps({"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)})

    def resources(self, group: str, version: str) -> bytes | None:
        """Of this server's own; a remote one is asked itself."""
        return self._own.resources(group, version)

    def aggregated(self, core: bool, version: str) -> tuple[bytes, str]:
        body, etag = self._own.aggregated(core, version)
        if core or not self._services.remotes:
            return body, etag
        own = orjson.loads(body)
        by_name: dict[str, dict[str, JsonObject]] = {
            item["metadata"]["name"]: {each["version"]: each for each in item["versions"]} for item in own["items"]
        }
        items: list[JsonObject] = []
        for group, versions in self._merged(self._own.groups()):
            listed = [
                by_name[group][name] if remote is None else self._of_remote(remote) for name, remote in versions
            ]
            items.append({"metadata": {"creationTimestamp": None, "name": group}, "versions": listed})
        body = orjson.dumps({**own, "items": items})
        return body, '"' + hashlib.sha256(body).hexdigest().upper() + '"'

    def _of_remote(self, remote: Remote) -> JsonObject:
        known = self._documents.known(remote)
        return {
            "version": remote.version,
            "resources": known.resources,
            "freshness": "Current" if known.fresh else "Stale",
        }

    def _merged(self, own: list[tuple[str, list[str]]]) -> list[tuple[str, list[tuple[str, Remote | None]]]]:
        """Groups by priority, each with its versions by priority (apiregistration `SortedByGroupAndVersion`)."""
        if not self._services.remotes:
            return [(group, [(version, None) for version in versions]) for group, versions in own]
        table: dict[str, dict[str, Remote | None]] = {group: dict.fromkeys(versions) for group, versions in own}
        for (group, version), remote in self._services.remotes.items():
            if group:
                table.setdefault(group, {})[version] = remote
        ranked: list[tuple[Any, str, list[tuple[str, Remote | None]]]] = []
        for group, found in table.items():
            weights = {
                version: remote.priority if remote is not None else priorities.of(group, version)
                for version, remote in found.items()
            }
            weight = _FIRST if group == priorities.ITSELF else max(each[0] for each in weights.values())
            versions = sorted(found.items(), key=lambda item: (-weights[item[0]][1], version_rank(item[0])))
            ranked.append((-weight, group, versions))
        return [(group, versions) for _, group, versions in sorted(ranked, key=lambda item: item[:2])]


def _group(name: str, versions: list[str]) -> JsonObject:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}
