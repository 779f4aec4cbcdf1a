"""Pod: containers that run together on one node."""

from __future__ import annotations

from argosy.kinds import pod_columns
from argosy.kinds.columns import text_at
from argosy.kinds.kind import FieldGetter, Kind, Subresource, status_subresource
from argosy.kinds.pod_default import default
from argosy.kinds.pod_resize import validate_resize
from argosy.kinds.pod_strategy import prepare_create, prepare_status_update, prepare_update
from argosy.kinds.pod_update import validate_status_update, validate_update
from argosy.kinds.pod_validation import validate, validate_create
from argosy.objects.types import JsonObject


def _field(*path: str) -> FieldGetter:
    return lambda obj: text_at(obj, *path)


def _host_network(obj: JsonObject) -> str:
    return "true" if (obj.get("spec") or {}).get("hostNetwork") else "false"


def _pod_ips(obj: JsonObject) -> str:
    status = obj.get("status") or {}
    return ",".join(str(item.get("ip", "")) for item in status.get("podIPs") or ())


POD = Kind(
    group="",
    version="v1",
    kind="Pod",
    plural="pods",
    singular="pod",
    namespaced=True,
    short_names=("po",),
    categories=("all",),
    subresources=(
        Subresource("attach", "PodAttachOptions", "", "v1", ("create", "get")),
        Subresource("binding", "Binding", "", "v1", ("create",)),
        Subresource("ephemeralcontainers", "Pod", "", "v1"),
        Subresource("eviction", "Eviction", "policy", "v1", ("create",)),
        Subresource("exec", "PodExecOptions", "", "v1", ("create", "get")),
        Subresource("log", "Pod", "", "v1", ("get",)),
        Subresource("portforward", "PodPortForwardOptions", "", "v1", ("create", "get")),
        Subresource("resize", "Pod", "", "v1"),
        status_subresource("", "v1", "Pod"),
    ),
    default=default,
    validate=validate,
    validate_create=validate_create,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    validate_subresources={"resize": validate_resize},
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status_update=prepare_status_update,
    status_keeps_metadata=("ownerReferences",),
    columns=pod_columns.COLUMNS,
    fields={
        "spec.nodeName": _field("spec", "nodeName"),
        "spec.host": _field("spec", "nodeName"),
        "spec.restartPolicy": _field("spec", "restartPolicy"),
        "spec.schedulerName": _field("spec", "schedulerName"),
        "spec.serviceAccountName": _field("spec", "serviceAccountName"),
        "spec.hostNetwork": _host_network,
        "status.phase": _field("status", "phase"),
        "status.podIP": _field("status", "podIP"),
        "status.podIPs": _pod_ips,
        "status.nominatedNodeName": _field("status", "nominatedNodeName"),
    },
    has_generation=True,
    graceful=True,
    delete_returns_object=True,
)
