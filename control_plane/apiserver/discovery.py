"""Discovery: which groups, versions and resources there are, in the plain and the aggregated form.

Shapes: apimachinery meta/v1 (APIVersions, APIGroupList, APIResourceList) and apidiscovery.k8s.io v2 (KEP-3352).
"""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from argosy.kinds.kind import Subresource
from argosy.objects.types import JsonObject
from control_plane.apiserver.resources import Resources, Served

GROUP_ORDER: Final = (
    "",
    "apiregistration.k8s.io",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "apps",
)


class Discovery:
    """Built from the resources when asked, anew after a custom resource came or went."""

    def __init__(self, resources: Resources, address: str) -> None:
        self._resources = resources
        self._address = address
        self._made: dict[str, bytes] = {}
        self._generation = resources.generation

    def _refresh(self) -> None:
        if self._generation != self._resources.generation:
            self._generation = self._resources.generation
            self._made.clear()

    def _once(self, name: str, value: JsonObject) -> bytes:
        body = self._made[name] = orjson.dumps(value)
        return body

    def groups(self) -> list[tuple[str, list[str]]]:
        """Named groups with their versions, in upstream's order."""
        found = self._resources.groups()
        known = [group for group in GROUP_ORDER if group in found]
        rest = sorted(group for group in found if group not in GROUP_ORDER)
        return [(group, found[group]) for group in (*known, *rest) if group]

    def core_versions(self) -> bytes:
        """GET /api."""
        return self._made.get("/api") or self._once(
            "/api",
            {
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}],
            },
        )

    def group_list(self) -> bytes:
        """GET /apis."""
        self._refresh()
        return self._made.get("/apis") or self._once(
            "/apis",
            {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": [_group(group, versions) for group, versions in self.groups()],
            },
        )

    def group(self, name: str) -> bytes | None:
        """GET /apis/GROUP."""
        versions = self._resources.groups().get(name)
        if not name or versions is None:
            return None
        return orjson.dumps({"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)})

    def resources(self, group: str, version: str) -> bytes | None:
        """GET /api/v1 or /apis/GROUP/VERSION."""
        self._refresh()
        key = f"{group}/{version}"
        if key in self._made:
            return self._made[key]
        served = [item for item in self._resources.all() if (item.group, item.version) == (group, version)]
        if not served:
            return None
        listed: list[JsonObject] = []
        for item in sorted(served, key=lambda one: one.plural):
            listed.append(_resource(item))
            listed += [_subresource(item, sub) for sub in sorted(item.kind.subresources, key=lambda one: one.name)]
        return self._once(
            key,
            {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{group}/{version}" if group else version,
                "resources": listed,
            },
        )

    def aggregated(self, core: bool, version: str) -> tuple[bytes, str]:
        """(body, ETag) of GET /api or /apis as apidiscovery.k8s.io `version` (v2, v2beta1)."""
        self._refresh()
        key = f"aggregated/{core}/{version}"
        body = self._made.get(key)
        if body is None:
            found = self._resources.groups()
            pairs = [("", found.get("", []))] if core else self.groups()
            body = self._once(
                key,
                {
                    "kind": "APIGroupDiscoveryList",
                    "apiVersion": f"apidiscovery.k8s.io/{version}",
                    "metadata": {},
                    "items": [self._aggregated_group(group, versions) for group, versions in pairs],
                },
            )
        return body, '"' + hashlib.sha256(body).hexdigest().upper() + '"'

    def _aggregated_group(self, group: str, versions: list[str]) -> JsonObject:
        metadata: JsonObject = {"creationTimestamp": None}
        if group:
            metadata["name"] = group
        result: JsonObject = {"metadata": metadata, "versions": []}
        for version in versions:
            served = [item for item in self._resources.all() if (item.group, item.version) == (group, version)]
            result["versions"].append(
                {
                    "version": version,
                    "resources": [_aggregated(item) for item in sorted(served, key=lambda one: one.plural)],
                    "freshness": "Current",
                }
            )
        return result


def _group(name: str, versions: list[str]) -> JsonObject:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _storage_hash(served: Served) -> str:
    """Clients compare it to notice that the stored version changed."""
    import base64

    text = f"{served.kind.group}/{served.kind.version}/{served.kind.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _resource(served: Served) -> JsonObject:
    kind = served.kind
    result: JsonObject = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": sorted(kind.verbs),
    }
    if kind.short_names:
        result["shortNames"] = list(kind.short_names)
    if kind.categories:
        result["categories"] = list(kind.categories)
    if not kind.virtual:
        result["storageVersionHash"] = _storage_hash(served)
    return result


def _subresource(served: Served, sub: Subresource) -> JsonObject:
    result: JsonObject = {
        "name": f"{served.plural}/{sub.name}",
        "singularName": "",
        "namespaced": served.kind.namespaced,
        "kind": sub.kind,
        "verbs": sorted(sub.verbs),
    }
    if (sub.group, sub.version) != (served.group, served.version):
        if sub.group:
            result["group"] = sub.group
        result["version"] = sub.version
    return result


def _aggregated(served: Served) -> JsonObject:
    kind = served.kind
    result: JsonObject = {
        "resource": kind.plural,
        "responseKind": {"group": served.group, "version": served.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": sorted(kind.verbs),
    }
    if kind.short_names:
        result["shortNames"] = list(kind.short_names)
    if kind.categories:
        result["categories"] = list(kind.categories)
    if kind.subresources:
        result["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": sorted(sub.verbs),
            }
            for sub in sorted(kind.subresources, key=lambda one: one.name)
        ]
    return result
