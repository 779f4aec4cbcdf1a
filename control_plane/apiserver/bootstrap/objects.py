"""Creates what a cluster starts with, through the pipeline, and leaves alone what is there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from argosy import logs
from argosy.objects import meta, storage
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.auth.rbac import MASTERS
from control_plane.apiserver.pipeline import Pipeline
from control_plane.apiserver.request import Answer, Request, User, WriteOptions

NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
ITSELF: Final = User("system:apiserver", (MASTERS,))
log = logs.get("apiserver.bootstrap")


def namespaces() -> list[JsonObject]:
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in NAMESPACES]


def priority_classes() -> list[JsonObject]:
    """The two that system pods use (pkg/apis/scheduling)."""
    found: list[JsonObject] = []
    for name, value, text in (
        ("system-node-critical", 2_000_001_000, "For pods that must run on their node and not be moved."),
        ("system-cluster-critical", 2_000_000_000, "For pods that the cluster needs; they may be moved."),
    ):
        found.append(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": value,
                "globalDefault": False,
                "description": text,
                "preemptionPolicy": "PreemptLowerPriority",
            }
        )
    return found


def storage_classes() -> list[JsonObject]:
    """The default class: folders on the disk of the node that the pod goes to, made by that node's agent."""
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": storage.LOCAL_PATH, "annotations": {storage.DEFAULT_CLASS: "true"}},
            "provisioner": storage.LOCAL_PATH_PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": storage.WAIT_FOR_FIRST_CONSUMER,
        }
    ]


async def ensure(pipeline: Pipeline, objects: Sequence[JsonObject]) -> None:
    """Create those that are missing. Raises ApiError."""
    for obj in objects:
        group, _, version = obj["apiVersion"].rpartition("/")
        served = pipeline.context.resources.by_kind(group, version, obj["kind"])
        if served is None:
            continue
        namespace = meta.namespace(obj)
        if served.cache.get(served.cache_key(namespace, meta.name(obj))) is not None:
            continue
        try:
            await create(pipeline, obj)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise


async def create(pipeline: Pipeline, obj: JsonObject) -> JsonObject:
    """One object, as the server itself. Raises ApiError."""
    group, _, version = obj["apiVersion"].rpartition("/")
    served = pipeline.context.resources.by_kind(group, version, obj["kind"])
    assert served is not None
    request = Request(
        ITSELF,
        "create",
        served,
        namespace=meta.namespace(obj),
        body=orjson.dumps(obj),
        write=WriteOptions(field_manager="kube-apiserver"),
    )
    result = await pipeline.trusted(request)
    assert isinstance(result, Answer)
    return result.obj


async def update(pipeline: Pipeline, obj: JsonObject) -> JsonObject:
    """The same for an update."""
    group, _, version = obj["apiVersion"].rpartition("/")
    served = pipeline.context.resources.by_kind(group, version, obj["kind"])
    assert served is not None
    request = Request(
        ITSELF,
        "update",
        served,
        namespace=meta.namespace(obj),
        name=meta.name(obj),
        body=orjson.dumps(obj),
        write=WriteOptions(field_manager="kube-apiserver"),
    )
    result = await pipeline.trusted(request)
    assert isinstance(result, Answer)
    return result.obj
