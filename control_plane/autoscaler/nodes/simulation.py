"""The scheduler's filters on a cluster that might be: nodes come and go, pods are moved, nothing is bound.

Uses the scheduler's own snapshot and rules, so that what is said to fit here fits there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from argosy.objects import meta
from argosy.objects.types import JsonObject
from argosy.scheduling import node_affinity, taints
from control_plane.scheduler.columns import Mask
from control_plane.scheduler.cycle import feasible, rejections
from control_plane.scheduler.plugins import Profile, default_profile
from control_plane.scheduler.pod_info import PodInfo
from control_plane.scheduler.snapshot import Snapshot

HOSTNAME: Final = "kubernetes.io/hostname"
TO_BE_DELETED: Final = "ToBeDeletedByClusterAutoscaler"
DELETION_CANDIDATE: Final = "DeletionCandidateOfClusterAutoscaler"
STARTUP_TAINTS: Final = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
"""Begin the keys of taints that come and go with a node's condition."""


class Simulation:
    """Starts as the cluster is; every change is the caller's to take back."""

    def __init__(
        self,
        nodes: Iterable[JsonObject],
        pods: Iterable[tuple[PodInfo, str]],
        namespaces: Mapping[str, Mapping[str, str]] | None = None,
        profile: Profile | None = None,
    ) -> None:
        self._snapshot = Snapshot()
        self._profile = profile or default_profile()
        for name, labels in (namespaces or {}).items():
            self._snapshot.put_namespace(name, labels)
        for node in nodes:
            self._snapshot.put_node(node)
        for info, node_name in pods:
            self._snapshot.put_pod(info, node_name)

    def __contains__(self, node_name: str) -> bool:
        return node_name in self._snapshot.rows

    def add_node(self, node: JsonObject, pods: Iterable[JsonObject] = ()) -> None:
        self._snapshot.put_node(node)
        for pod in pods:
            self._snapshot.put_pod(PodInfo.of(pod), meta.name(node))

    def remove_node(self, name: str) -> None:
        """With all its pods."""
        for info in self._snapshot.pods_on(name):
            self._snapshot.remove_pod(info.uid)
        self._snapshot.remove_node(name)

    def put(self, info: PodInfo, node_name: str) -> None:
        self._snapshot.put_pod(info, node_name)

    def take(self, info: PodInfo) -> None:
        self._snapshot.remove_pod(info.uid)

    def pods_on(self, name: str) -> list[PodInfo]:
        return self._snapshot.pods_on(name)

    def place(self, info: PodInfo, allowed: Callable[[str], bool] | None = None) -> str:
        """Put the pod on the first node that takes it; gives its name, or nothing. It asks for nodes in order."""
        mask, _ = feasible(info, self._snapshot, self._profile)
        for row in np.flatnonzero(mask):
            name = self._snapshot.names[int(row)]
            if allowed is None or allowed(name):
                self._snapshot.put_pod(info, name)
                return name
        return ""

    def fits(self, info: PodInfo, name: str) -> bool:
        mask, _ = feasible(info, self._snapshot, self._profile)
        row = self._snapshot.rows.get(name)
        return row is not None and bool(mask[row])

    def reasons(self, info: PodInfo, name: str) -> list[str]:
        """Why the pod does not fit that node."""
        row = self._snapshot.rows[name]
        _, ruled_out = feasible(info, self._snapshot, self._profile)
        only: Mask = np.zeros(self._snapshot.columns.capacity, np.bool_)
        only[row] = True
        here = [(place, rows[only[rows]]) for place, rows in ruled_out if only[rows].any()]
        found: Counter[str] = Counter()
        for rejection in rejections(info, self._snapshot, self._profile, here):
            for reason, _ in rejection.reasons:
                found[reason.text] += 1
        return list(found)


def fresh_node(template: JsonObject, name: str) -> JsonObject:
    """A new node like `template` (a Node of the group, or what the provider says of one), empty and ready."""
    labels = {**meta.labels(template), HOSTNAME: name}
    kept = [taint for taint in meta.spec(template).get("taints") or () if not _is_passing(taint)]
    spec = {"taints": kept} if kept else {}
    status = {key: meta.status(template).get(key) or {} for key in ("capacity", "allocatable")}
    if not status["allocatable"]:
        status["allocatable"] = status["capacity"]
    metadata = {"name": name, "labels": labels, "annotations": meta.annotations(template)}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec, "status": status}


def _is_passing(taint: JsonObject) -> bool:
    key = str(taint.get("key", ""))
    return key in (TO_BE_DELETED, DELETION_CANDIDATE) or key.startswith(STARTUP_TAINTS)


def daemon_pods(node: JsonObject, daemon_sets: Sequence[JsonObject]) -> list[JsonObject]:
    """What daemon sets will start on a new node: its overhead."""
    found = []
    for daemon_set in daemon_sets:
        template = meta.spec(daemon_set).get("template") or {}
        name, space = f"{meta.name(daemon_set)}-{meta.name(node)}", meta.namespace(daemon_set)
        pod: JsonObject = {
            "metadata": {
                "name": name,
                "namespace": space,
                "uid": f"{meta.uid(daemon_set)}/{meta.name(node)}",
                "labels": meta.labels(template),
            },
            "spec": meta.spec(template),
        }
        if not node_affinity.matches(pod, meta.labels(node), meta.name(node)):
            continue
        tolerations = meta.spec(pod).get("tolerations") or ()
        if taints.first_untolerated(meta.spec(node).get("taints") or (), tolerations) is None:
            found.append(pod)
    return found
