"""APIServices of what this server serves itself, kept in step with it; and what aggregated servers must know of us.

Upstream's autoregistration (k8s.io/kube-aggregator `pkg/controllers/autoregister`): built-in versions are entered
once at start, versions of custom resources while they are served. The ConfigMap is upstream's
`extension-apiserver-authentication` (pkg/controlplane/controller/clusterauthenticationtrust).
"""

from __future__ import annotations

from typing import Final

import orjson

from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.aggregation import priorities
from control_plane.apiserver.aggregation.services import GROUP, PLURAL
from control_plane.apiserver.bootstrap import objects
from control_plane.apiserver.config import Config
from control_plane.apiserver.pipeline import Pipeline
from control_plane.apiserver.request import Request

AUTOMANAGED: Final = "kube-aggregator.kubernetes.io/automanaged"
ON_START: Final = "onstart"
ALWAYS: Final = "true"
FRONT_PROXY: Final = "front-proxy-client"
"""The name in the certificate by which we reach aggregated servers."""


async def register(pipeline: Pipeline, *, starting: bool) -> None:
    """Enter what is served and take out custom versions that are served no more. Raises ApiError."""
    resources = pipeline.context.resources
    served = resources.stored(GROUP, PLURAL)
    if served is None:
        return
    here = {(group, version) for group, versions in resources.groups().items() for version in versions}
    for group, version in sorted(here):
        custom = group not in priorities.GROUPS
        if (
            group == priorities.ITSELF
            or served.cache.get(f"{version}.{group}") is not None
            or not (custom or starting)
        ):
            continue
        await objects.ensure(pipeline, [local(group, version, custom=custom)])
    if starting:
        # Custom resources may not all be known yet.
        return
    for entry in list(served.cache.entries()):
        spec = meta.spec(entry.obj)
        if meta.labels(entry.obj).get(AUTOMANAGED) != ALWAYS or spec.get("service") is not None:
            continue
        if (spec.get("group") or "", spec.get("version")) not in here:
            await _remove(pipeline, entry.key)


def local(group: str, version: str, *, custom: bool) -> JsonObject:
    """The APIService of what we serve."""
    of_group, of_version = priorities.of(group, version)
    spec: JsonObject = {"groupPriorityMinimum": of_group, "version": version, "versionPriority": of_version}
    if group:
        spec["group"] = group
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": {AUTOMANAGED: ALWAYS if custom else ON_START}},
        "spec": spec,
    }


async def _remove(pipeline: Pipeline, name: str) -> None:
    served = pipeline.context.resources.require(GROUP, PLURAL)
    try:
        await pipeline.trusted(Request(objects.ITSELF, "delete", served, name=name))
    except ApiError as error:
        if error.code != 404:
            raise


async def publish(pipeline: Pipeline, config: Config) -> None:
    """How aggregated servers tell our certificate, and those of clients, from others'. Raises ApiError, OSError."""
    data: dict[str, str] = {}
    if client_ca := config.client_ca or config.ca:
        data["client-ca-file"] = _read(client_ca)
    if config.requestheader_client_ca:
        data["requestheader-client-ca-file"] = _read(config.requestheader_client_ca)
        for key, value in (
            ("allowed-names", FRONT_PROXY),
            ("username-headers", "X-Remote-User"),
            ("uid-headers", "X-Remote-Uid"),
            ("group-headers", "X-Remote-Group"),
            ("extra-headers-prefix", "X-Remote-Extra-"),
        ):
            data[f"requestheader-{key}"] = orjson.dumps([value]).decode()
    if not data:
        return
    wanted: JsonObject = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": data,
    }
    served = pipeline.context.resources.require("", "configmaps")
    entry = served.cache.get(served.cache_key("kube-system", meta.name(wanted)))
    if entry is None:
        await objects.ensure(pipeline, [wanted])
    elif any((entry.obj.get("data") or {}).get(key) != value for key, value in data.items()):
        await objects.update(pipeline, {**entry.obj, "data": {**(entry.obj.get("data") or {}), **data}})


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()
