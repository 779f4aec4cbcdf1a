"""Pods' claims as the scheduler sees them, and what it has promised: the state behind the volume plug-ins.

Upstream: pkg/scheduler/framework/plugins/volumebinding. Bound claims tie a pod to nodes that reach their volume; a
claim of a class that waits for its consumer gets a free volume there, or has one made: then the scheduler writes the
node's name on the claim before it binds the pod, and waits until the claim is bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from argosy import logs
from argosy.client import Client
from argosy.informer import Informer, InformerFactory
from argosy.objects import meta, storage
from argosy.objects.status import timeout, unavailable
from argosy.objects.types import JsonObject
from argosy.scheduling import volumes as matching
from argosy.scheduling.volumes import NodeView
from control_plane.scheduler.pod_info import PodInfo

log = logs.get("scheduler.volumes")

FREE_INDEX: Final = "free-of-class"
CLAIM_INDEX: Final = "kept-for-claim"
POD_INDEX: Final = "claims"
ONCE_POD: Final = "ReadWriteOncePod"


@dataclass
class PodClaims:
    """One pod's claims, sorted by what is left to do for them."""

    bound: list[JsonObject] = field(default_factory=list)
    waiting: list[JsonObject] = field(default_factory=list)
    """They get a volume once a node is chosen."""
    problem: str = ""
    """Why the pod can go nowhere now."""


@dataclass
class Plan:
    """What must be written so that a pod's volumes are on its node."""

    static: list[tuple[JsonObject, JsonObject]] = field(default_factory=list)
    """(claim, free volume)"""
    dynamic: list[JsonObject] = field(default_factory=list)
    """Claims whose volume is to be made."""


def _free_class(volume: JsonObject) -> tuple[str, ...]:
    return () if meta.spec(volume).get("claimRef") else (storage.volume_class(volume),)


def _kept_for(volume: JsonObject) -> tuple[str, ...]:
    reference = meta.spec(volume).get("claimRef")
    return (f"{reference.get('namespace', '')}/{reference.get('name', '')}",) if reference else ()


def _pod_claims(pod: JsonObject) -> list[str]:
    return [f"{meta.namespace(pod)}/{name}" for name in storage.pod_claim_names(pod)]


class VolumeClaims:
    """`changed` is called when a claim, volume or class may let a waiting pod go on."""

    def __init__(self, factory: InformerFactory, pods: Informer, client: Client, changed: Callable[[], None]) -> None:
        self._claims = factory.informer("", "v1", "persistentvolumeclaims")
        self._volumes = factory.informer("", "v1", "persistentvolumes")
        self._classes = factory.informer("storage.k8s.io", "v1", "storageclasses")
        self._pods = pods
        self._volumes.add_index(FREE_INDEX, _free_class)
        self._volumes.add_index(CLAIM_INDEX, _kept_for)
        pods.add_index(POD_INDEX, _pod_claims)
        self._write_claims = client.resource("", "v1", "persistentvolumeclaims")
        self._write_volumes = client.resource("", "v1", "persistentvolumes")
        self._promised: dict[str, str] = {}
        """Names of free volumes that pods being bound will get, with the pod's uid."""
        self._waiters: dict[str, asyncio.Event] = {}
        """By claim: somebody waits for it to be bound."""
        self._changed = changed
        for informer in (self._claims, self._volumes, self._classes):
            informer.add_handler(added=self._tell, updated=lambda _old, new: self._tell(new), deleted=self._tell)

    def _tell(self, obj: JsonObject) -> None:
        event = self._waiters.pop(meta.key(obj), None)
        if event is not None:
            event.set()
        self._changed()

    # Deciding

    def of(self, info: PodInfo) -> PodClaims | None:
        """None for a pod without claims."""
        found: PodClaims | None = None
        for volume in info.spec.get("volumes") or ():
            name = storage.pod_claim_name(info.pod, volume)
            if name is None:
                continue
            found = found or PodClaims()
            problem = self._sort(info, volume, name, found)
            if problem:
                found.problem = problem
                return found
        return found

    def _sort(self, info: PodInfo, volume: JsonObject, name: str, found: PodClaims) -> str:
        claim = self._claims.get(f"{info.namespace}/{name}")
        if claim is None:
            if volume.get("ephemeral"):
                return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
            return f'persistentvolumeclaim "{name}" not found'
        if volume.get("ephemeral") and not storage.is_owned_by(claim, info.pod):
            return f"PVC {meta.key(claim)} was not created for pod {info.key} (pod is not owner)"
        if meta.status(claim).get("phase") == "Lost":
            return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{_volume_name(claim)}"'
        if meta.is_deleting(claim):
            return f'persistentvolumeclaim "{name}" is being deleted'
        if storage.is_bound(claim):
            found.bound.append(claim)
            return ""
        storage_class = self._classes.get(storage.claim_class(claim))
        if _volume_name(claim) or storage_class is None or not storage.waits_for_consumer(storage_class):
            return "pod has unbound immediate PersistentVolumeClaims"
        found.waiting.append(claim)
        return ""

    def volume_of(self, claim: JsonObject) -> JsonObject | None:
        """Of a bound claim."""
        return self._volumes.get(_volume_name(claim))

    def plan(self, claims: PodClaims, node: NodeView, uid: str) -> Plan | None:
        """How the waiting claims get their volumes there; None when one cannot."""
        plan = Plan()
        taken = {name for name, owner in self._promised.items() if owner != uid}
        for claim in claims.waiting:
            chosen = storage.selected_node(claim)
            if chosen and chosen != node.name:
                return None
            class_name = storage.claim_class(claim)
            candidates = [
                *self._volumes.by_index(CLAIM_INDEX, meta.key(claim)),
                *self._volumes.by_index(FREE_INDEX, class_name),
            ]
            volume = None if chosen else matching.find_volume(claim, candidates, node=node, taken=taken)
            if volume is not None:
                taken.add(meta.name(volume))
                plan.static.append((claim, volume))
                continue
            storage_class = self._classes.get(class_name) or {}
            if storage_class.get("provisioner", storage.NO_PROVISIONER) == storage.NO_PROVISIONER:
                return None
            if not matching.topology_fits(storage_class, node):
                return None
            plan.dynamic.append(claim)
        return plan

    def go_anywhere(self, claims: PodClaims) -> bool:
        """Whether any node will do for the waiting claims: their volumes are made where the pod goes."""
        for claim in claims.waiting:
            class_name = storage.claim_class(claim)
            storage_class = self._classes.get(class_name) or {}
            if storage_class.get("provisioner", storage.NO_PROVISIONER) == storage.NO_PROVISIONER:
                return False
            if storage_class.get("allowedTopologies") or storage.selected_node(claim):
                return False
            if self._volumes.by_index(FREE_INDEX, class_name):
                return False
            if self._volumes.by_index(CLAIM_INDEX, meta.key(claim)):
                return False
        return True

    def once_pod_users(self, info: PodInfo) -> Iterator[str]:
        """Uids of other pods that use a claim which only one pod at a time may use."""
        for key in _pod_claims(info.pod):
            claim = self._claims.get(key)
            if claim is None or ONCE_POD not in (meta.spec(claim).get("accessModes") or ()):
                continue
            for pod in self._pods.by_index(POD_INDEX, key):
                if meta.uid(pod) != info.uid:
                    yield meta.uid(pod)

    # Doing

    def promise(self, info: PodInfo, node: NodeView) -> Plan | None:
        """Keep free volumes for a pod that goes to `node`; None when nothing is to be done for it."""
        claims = self.of(info)
        if claims is None or not claims.waiting:
            return None
        plan = self.plan(claims, node, info.uid)
        for _, volume in plan.static if plan else ():
            self._promised[meta.name(volume)] = info.uid
        return plan

    def forget(self, uid: str) -> None:
        """The pod is bound, or will not be."""
        for name in [name for name, owner in self._promised.items() if owner == uid]:
            del self._promised[name]

    async def carry_out(self, plan: Plan, node_name: str, timeout_s: float) -> None:
        """Write what was planned and wait until every claim is bound. Raises ApiError."""
        for claim, volume in plan.static:
            await self._keep(claim, volume)
        for claim in plan.dynamic:
            if storage.selected_node(claim) != node_name:
                notes = {**meta.annotations(claim), storage.SELECTED_NODE: node_name}
                await self._write_claims.update({**claim, "metadata": {**meta.metadata(claim), "annotations": notes}})
        claims = [claim for claim, _ in plan.static] + plan.dynamic
        try:
            async with asyncio.timeout(timeout_s):
                for claim in claims:
                    await self._wait(claim, node_name)
        except TimeoutError:
            raise timeout(
                'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded'
            ) from None

    async def _keep(self, claim: JsonObject, volume: JsonObject) -> None:
        """Name the claim on the volume: the volume binder does the rest."""
        if matching.claim_reference(volume) is not None and meta.spec(volume)["claimRef"].get("uid"):
            return
        spec = {
            **meta.spec(volume),
            "claimRef": {
                "kind": "PersistentVolumeClaim",
                "namespace": meta.namespace(claim),
                "name": meta.name(claim),
                "uid": meta.uid(claim),
                "apiVersion": "v1",
                "resourceVersion": meta.resource_version(claim),
            },
        }
        metadata = meta.metadata(volume)
        if matching.claim_reference(volume) is None:
            notes = {**meta.annotations(volume), storage.BOUND_BY_CONTROLLER: "yes"}
            metadata = {**metadata, "annotations": notes}
        await self._write_volumes.update({**volume, "metadata": metadata, "spec": spec})

    async def _wait(self, claim: JsonObject, node_name: str) -> None:
        key = meta.key(claim)
        while True:
            event = self._waiters.setdefault(key, asyncio.Event())
            now = self._claims.get(key)
            if now is None or meta.uid(now) != meta.uid(claim):
                raise unavailable(f'binding volumes: persistentvolumeclaim "{meta.name(claim)}" not found')
            if storage.is_bound(now):
                return
            chosen = storage.selected_node(now)
            newer = int(meta.resource_version(now) or 0) > int(meta.resource_version(claim) or 0)
            if newer and chosen not in ("", node_name):
                raise unavailable(f'binding volumes: selectedNode annotation reset for PVC "{meta.name(claim)}"')
            await event.wait()


def _volume_name(claim: JsonObject) -> str:
    return str(meta.spec(claim).get("volumeName") or "")
