"""Node: a machine that runs pods."""

from __future__ import annotations

from argosy.kinds import columns, resources
from argosy.kinds.kind import AGE_COLUMN, Column, Kind, keep_status, status_subresource
from argosy.kinds.node_validation import validate, validate_update
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"


def default(node: JsonObject) -> None:
    status = node.get("status")
    if not isinstance(status, dict):
        return
    resources.canonicalise(status.get("capacity"))
    resources.canonicalise(status.get("allocatable"))
    if status.get("allocatable") is None and isinstance(status.get("capacity"), dict):
        status["allocatable"] = dict(status["capacity"])


def _status(node: JsonObject) -> str:
    ready = conditions.get(node, "Ready")
    words = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if meta.spec(node).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: JsonObject) -> str:
    roles = set()
    for key, value in meta.labels(node).items():
        if key.startswith(ROLE_PREFIX) and key != ROLE_PREFIX:
            roles.add(key[len(ROLE_PREFIX) :])
        elif key == ROLE_LABEL and value:
            roles.add(value)
    return columns.joined(sorted(roles))


def _address(node: JsonObject, kind: str) -> str:
    for address in meta.status(node).get("addresses") or ():
        if address.get("type") == kind:
            return str(address.get("address", ""))
    return columns.NONE


def _unschedulable(node: JsonObject) -> str:
    return "true" if meta.spec(node).get("unschedulable") else "false"


def _info(name: str, field: str) -> Column:
    return columns.text(name, "status", "nodeInfo", field, empty=columns.UNKNOWN, priority=1)


NODE = Kind(
    group="",
    version="v1",
    kind="Node",
    plural="nodes",
    singular="node",
    namespaced=False,
    short_names=("no",),
    subresources=(status_subresource("", "v1", "Node"),),
    default=default,
    validate=validate,
    validate_update=validate_update,
    prepare_update=keep_status,
    columns=(
        columns.computed("Status", _status, description="Whether the node is ready and takes pods."),
        columns.computed("Roles", _roles, description="Roles named by its labels."),
        AGE_COLUMN,
        columns.text("Version", "status", "nodeInfo", "kubeletVersion", description="The version of its agent."),
        columns.computed("Internal-IP", lambda node: _address(node, "InternalIP"), priority=1),
        columns.computed("External-IP", lambda node: _address(node, "ExternalIP"), priority=1),
        _info("OS-Image", "osImage"),
        _info("Kernel-Version", "kernelVersion"),
        _info("Container-Runtime", "containerRuntimeVersion"),
    ),
    fields={"spec.unschedulable": _unschedulable},
)
