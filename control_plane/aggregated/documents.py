"""Discovery of an aggregated server, and its objects as tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argosy.objects.types import JsonObject
from control_plane.aggregated.calls import ApiResource, GroupVersion


def by_group(groups: Sequence[GroupVersion]) -> dict[str, list[GroupVersion]]:
    found: dict[str, list[GroupVersion]] = {}
    for item in groups:
        found.setdefault(item.group, []).append(item)
    return found


def group_list(groups: Sequence[GroupVersion]) -> JsonObject:
    """GET /apis."""
    listed = [_group(name, found) for name, found in by_group(groups).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def group(name: str, found: Sequence[GroupVersion]) -> JsonObject:
    """GET /apis/GROUP."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, found)}


def _group(name: str, found: Sequence[GroupVersion]) -> JsonObject:
    versions = [{"groupVersion": item.api_version, "version": item.version} for item in found]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def resource_list(item: GroupVersion) -> JsonObject:
    """GET /apis/GROUP/VERSION."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": item.api_version,
        "resources": [_resource(resource) for resource in item.resources],
    }


def _resource(resource: ApiResource) -> JsonObject:
    result: JsonObject = {
        "name": resource.name,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        result["shortNames"] = list(resource.short_names)
    return result


def aggregated(groups: Sequence[GroupVersion], version: str) -> JsonObject:
    """GET /apis as apidiscovery.k8s.io `version`."""
    items = [
        {"metadata": {"name": name, "creationTimestamp": None}, "versions": [_version(item) for item in found]}
        for name, found in by_group(groups).items()
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _version(item: GroupVersion) -> JsonObject:
    found: dict[str, JsonObject] = {}
    for resource in item.resources:
        parent, slash, sub = resource.name.partition("/")
        kind = {"group": item.group, "version": item.version, "kind": resource.kind}
        if slash:
            scope = "Namespaced" if resource.namespaced else "Cluster"
            holder = found.setdefault(
                parent, {"resource": parent, "scope": scope, "singularResource": "", "verbs": []}
            )
            made = {"subresource": sub, "responseKind": kind, "verbs": list(resource.verbs)}
            holder.setdefault("subresources", []).append(made)
            continue
        made = {
            "resource": parent,
            "responseKind": kind,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "singularResource": resource.singular,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            made["shortNames"] = list(resource.short_names)
        found[parent] = {**found.get(parent, {}), **made}
    return {"version": item.version, "resources": list(found.values()), "freshness": "Current"}


def table(resource: ApiResource, obj: JsonObject, now_s: float) -> JsonObject:
    """An object or a list as a meta.k8s.io/v1 Table."""
    items = obj["items"] if isinstance(obj.get("items"), list) else [obj]
    metadata: Mapping[str, object] = obj.get("metadata") or {}
    kept = ("resourceVersion", "continue", "remainingItemCount")
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "columnDefinitions": [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            }
            for column in resource.columns
        ],
        "rows": [
            {
                "cells": [column.value(item, now_s) for column in resource.columns],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": item.get("metadata") or {},
                },
            }
            for item in items
        ],
    }
