"""Which pods keep a node, and which must find a place elsewhere before it goes. Pure.

Rules: upstream's simulator/drainability and utils/drain, and FAQ.md, "What types of pods can prevent CA from removing
a node?".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from argosy.objects import meta, selectors
from argosy.objects.selectors import Selector, SelectorError
from argosy.objects.types import JsonObject
from control_plane.autoscaler.nodes.settings import Settings

SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
SAFE_VOLUMES: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
MIRROR: Final = "kubernetes.io/config.mirror"
SYSTEM: Final = "kube-system"
KNOWN_CONTROLLERS: Final = frozenset(("ReplicationController", "ReplicaSet", "Job", "StatefulSet"))


class Blocked(Enum):
    """Why a pod keeps its node; the words of upstream's drain.BlockingPodReason."""

    NOT_SAFE = "NotSafeToEvictAnnotation"
    NOT_REPLICATED = "NotReplicated"
    LOCAL_STORAGE = "LocalStorageRequested"
    SYSTEM_UNMOVABLE = "UnmovableKubeSystemPod"
    BUDGET = "NotEnoughPdb"


@dataclass(frozen=True)
class Blocking:
    pod: JsonObject
    reason: Blocked


@dataclass
class Move:
    """What leaving a node takes."""

    pods: list[JsonObject] = field(default_factory=list)
    """They need a place elsewhere."""
    daemons: list[JsonObject] = field(default_factory=list)
    blocking: Blocking | None = None

    @property
    def empty(self) -> bool:
        return self.blocking is None and not self.pods


class Budgets:
    """How many pods PodDisruptionBudgets let go now; `spend` counts what was decided but is not done yet."""

    def __init__(self, objects: Iterable[JsonObject]) -> None:
        self._left: dict[str, int] = {}
        self._selectors: dict[str, list[tuple[str, Selector]]] = {}
        for budget in objects:
            try:
                selector = selectors.from_object(meta.spec(budget).get("selector"))
            except SelectorError:
                continue
            key = meta.key(budget)
            self._left[key] = int(meta.status(budget).get("disruptionsAllowed") or 0)
            self._selectors.setdefault(meta.namespace(budget), []).append((key, selector))

    def of(self, pod: JsonObject) -> list[str]:
        labels = meta.labels(pod)
        return [key for key, selector in self._selectors.get(meta.namespace(pod), ()) if selector.matches(labels)]

    def short_of(self, pods: Iterable[JsonObject]) -> JsonObject | None:
        """The first pod that may not go beside those before it."""
        needed: dict[str, int] = {}
        for pod in pods:
            found = self.of(pod)
            for key in found:
                needed[key] = needed.get(key, 0) + 1
            # The eviction API refuses a pod of several budgets.
            if len(found) > 1 or any(needed[key] > self._left[key] for key in found):
                return pod
        return None

    def spend(self, pods: Iterable[JsonObject]) -> None:
        for pod in pods:
            for key in self.of(pod):
                self._left[key] -= 1


def move(pods: Iterable[JsonObject], budgets: Budgets, settings: Settings) -> Move:
    """What becomes of a node's pods when it goes."""
    result = Move()
    for pod in pods:
        if is_over(pod) or is_mirror(pod):
            continue
        if is_daemon(pod):
            result.daemons.append(pod)
            if meta.annotations(pod).get(SAFE_TO_EVICT) == "false":
                result.blocking = result.blocking or Blocking(pod, Blocked.NOT_SAFE)
            continue
        if meta.is_deleting(pod):
            result.pods.append(pod)
            continue
        if int(meta.spec(pod).get("priority") or 0) < settings.expendable_pods_priority_cutoff:
            continue
        reason = _kept_by(pod, budgets, settings)
        if reason is not None and result.blocking is None:
            result.blocking = Blocking(pod, reason)
        result.pods.append(pod)
    if result.blocking is None:
        short = budgets.short_of(pod for pod in result.pods if not meta.is_deleting(pod))
        if short is not None:
            result.blocking = Blocking(short, Blocked.BUDGET)
    return result


def _kept_by(pod: JsonObject, budgets: Budgets, settings: Settings) -> Blocked | None:
    said = meta.annotations(pod).get(SAFE_TO_EVICT)
    if said == "true":
        return None
    if said == "false":
        return Blocked.NOT_SAFE
    owner = meta.controller_of(pod)
    if owner is None:
        return Blocked.NOT_REPLICATED
    if settings.skip_nodes_with_custom_controller_pods and str(owner.get("kind")) not in KNOWN_CONTROLLERS:
        return Blocked.NOT_REPLICATED
    if settings.skip_nodes_with_system_pods and meta.namespace(pod) == SYSTEM and not budgets.of(pod):
        return Blocked.SYSTEM_UNMOVABLE
    if settings.skip_nodes_with_local_storage and has_local_storage(pod):
        return Blocked.LOCAL_STORAGE
    return None


def has_local_storage(pod: JsonObject) -> bool:
    """A volume that would be lost, and is not named as one that may be."""
    safe = {name.strip() for name in meta.annotations(pod).get(SAFE_VOLUMES, "").split(",")}
    for volume in meta.spec(pod).get("volumes") or ():
        empty = volume.get("emptyDir")
        local = "hostPath" in volume or (isinstance(empty, Mapping) and empty.get("medium") != "Memory")
        if local and volume.get("name") not in safe:
            return True
    return False


def is_over(pod: JsonObject) -> bool:
    return meta.status(pod).get("phase") in ("Succeeded", "Failed")


def is_mirror(pod: JsonObject) -> bool:
    return MIRROR in meta.annotations(pod)


def is_daemon(pod: JsonObject) -> bool:
    owner = meta.controller_of(pod)
    return owner is not None and owner.get("kind") == "DaemonSet"
