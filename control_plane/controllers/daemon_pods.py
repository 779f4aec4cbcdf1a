"""The pods of a DaemonSet: which nodes want one, and what one is like; pure.

Upstream: `pkg/controller/daemon/daemon_controller.go`, `pkg/controller/daemon/util/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from argosy.kinds.daemon_set import TEMPLATE_GENERATION
from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.scheduling import node_affinity, taints
from control_plane.controllers import pods as podlib
from control_plane.controllers.history import REVISION_LABEL

GENERATION_LABEL: Final = "pod-template-generation"
_NO_EXECUTE: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_NO_SCHEDULE: Final = (
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/unschedulable",
)
_HOST_NETWORK: Final = "node.kubernetes.io/network-unavailable"


@dataclass(frozen=True)
class Fit:
    should_run: bool
    should_continue: bool
    """A pod that is there may stay."""


def tolerations(spec: JsonObject) -> list[JsonObject]:
    """The template's and those that every daemon has: what keeps other pods off a node is why some daemons run."""
    result = list(spec.get("tolerations") or ())
    wanted = [(key, taints.NO_EXECUTE) for key in _NO_EXECUTE] + [(key, taints.NO_SCHEDULE) for key in _NO_SCHEDULE]
    if spec.get("hostNetwork"):
        wanted.append((_HOST_NETWORK, taints.NO_SCHEDULE))
    for key, effect in wanted:
        added = {"key": key, "operator": "Exists", "effect": effect}
        if added not in result:
            result.append(added)
    return result


def fit(daemon_set: JsonObject, node: JsonObject) -> Fit:
    template = meta.spec(daemon_set).get("template") or {}
    spec = template.get("spec") or {}
    name = meta.name(node)
    if spec.get("nodeName") not in (None, "", name):
        return Fit(False, False)
    if not node_affinity.matches(template, meta.labels(node), name):
        return Fit(False, False)
    present = meta.spec(node).get("taints") or ()
    if not present:
        return Fit(True, True)
    tolerated = tolerations(spec)
    if taints.first_untolerated(present, tolerated) is None:
        return Fit(True, True)
    return Fit(False, taints.first_untolerated(present, tolerated, (taints.NO_EXECUTE,)) is None)


def affinity_to(affinity: JsonObject | None, node: str) -> JsonObject:
    """`affinity` that requires that very node, by name, in place of what nodes it required."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    of_nodes = {**((affinity or {}).get("nodeAffinity") or {}), node_affinity.REQUIRED: {"nodeSelectorTerms": [term]}}
    return {**(affinity or {}), "nodeAffinity": of_nodes}


def target_node(pod: JsonObject) -> str:
    """The node it runs on or is meant for; empty where it says neither."""
    spec = meta.spec(pod)
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    for term in (node_affinity.required_selector(pod) or {}).get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            values = field.get("values") or []
            if field.get("key") == "metadata.name" and field.get("operator") == "In" and len(values) == 1:
                return str(values[0])
    return ""


def new_pod(daemon_set: JsonObject, node: str, hash_: str) -> JsonObject:
    """The pod for `node`, to be created; the scheduler binds it there."""
    template = meta.spec(daemon_set).get("template") or {}
    labels = {**meta.labels(template), REVISION_LABEL: hash_}
    generation = meta.annotations(daemon_set).get(TEMPLATE_GENERATION)
    if generation is not None:
        labels[GENERATION_LABEL] = generation
    metadata: JsonObject = {
        "generateName": f"{meta.name(daemon_set)}-",
        "namespace": meta.namespace(daemon_set),
        "labels": labels,
        "ownerReferences": [meta.owner_reference(daemon_set)],
    }
    for field in ("annotations", "finalizers"):
        if meta.metadata(template).get(field):
            metadata[field] = meta.metadata(template)[field]
    spec = template.get("spec") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {**spec, "affinity": affinity_to(spec.get("affinity"), node), "tolerations": tolerations(spec)},
    }


def by_node(pods: Iterable[JsonObject]) -> dict[str, list[JsonObject]]:
    """Those that count, oldest first on each node; not finished ones that are being deleted, which are replaced."""
    result: dict[str, list[JsonObject]] = {}
    for pod in pods:
        if podlib.is_terminal(pod) and meta.is_deleting(pod):
            continue
        result.setdefault(target_node(pod), []).append(pod)
    for found in result.values():
        found.sort(key=_seniority)
    return result


def _seniority(pod: JsonObject) -> tuple[bool, str, str]:
    """Scheduled first, then by age and name."""
    scheduled = bool(meta.spec(pod).get("nodeName"))
    return not scheduled, meta.metadata(pod).get("creationTimestamp", ""), meta.name(pod)


def is_updated(pod: JsonObject, hash_: str) -> bool:
    return meta.labels(pod).get(REVISION_LABEL) == hash_


def is_available(daemon_set: JsonObject, pod: JsonObject, now: float) -> bool:
    min_ready_s = int(meta.spec(daemon_set).get("minReadySeconds", 0))
    return podlib.available_in(pod, min_ready_s, now) == 0
