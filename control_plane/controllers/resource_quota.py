"""ResourceQuota controller: counts what a namespace uses, after deletions and now and then, and writes it down.

Upstream: `pkg/controller/resourcequota`. The API server charges quotas before objects are there: usage is lowered
only when nothing was charged for a moment, or a charge that is under way would be forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from argosy import logs, quota
from argosy.discovery import ApiResource, discover
from argosy.informer import Informer
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from argosy.quota import Usage
from argosy.scheduling import resources
from control_plane.controllers.base import (
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    SERVICES,
    Context,
    Controller,
    Loop,
)

SETTLE_S: Final = 1.0
SETTLE_MAX_S: Final = 10.0
DISCOVER_EVERY_S: Final = 30.0
SYNC_S: Final = 30.0
WHOLE: Final = {
    ("", "pods"): PODS,
    ("", "services"): SERVICES,
    ("", "persistentvolumeclaims"): PERSISTENT_VOLUME_CLAIMS,
}
"""What is more than counted; of the others metadata is enough."""
log = logs.get("controllers.quota")


class ResourceQuotaController(Controller):
    name = "resourcequota-controller"
    watches = (RESOURCE_QUOTAS, PODS, SERVICES, PERSISTENT_VOLUME_CLAIMS)
    """And the metadata of whatever else quotas name."""
    writes = (RESOURCE_QUOTAS,)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._informer_factory = context.informers
        self._resources: dict[tuple[str, str], ApiResource] = {}
        self._counted: dict[tuple[str, str], Informer] = {}
        self._charged_at: dict[str, float] = {}
        self._waits_since: dict[str, float] = {}
        self._undiscovered = asyncio.Event()
        quotas = self.informer(RESOURCE_QUOTAS)
        quotas.add_handler(added=self.enqueue, updated=self._quota_changed, deleted=self._quota_gone)
        for resource in (PODS, SERVICES, PERSISTENT_VOLUME_CLAIMS):
            self.informer(resource).add_handler(updated=self._changed, deleted=self._freed)

    @property
    def workers(self) -> int:
        return self.config.concurrent_resource_quota_syncs

    def loops(self) -> tuple[Loop, ...]:
        return (self._resync, self._keep_discovering)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self.config.resource_quota_sync_period)
            for obj in self.informer(RESOURCE_QUOTAS).list():
                self.enqueue(obj)

    async def _keep_discovering(self) -> None:
        """Resources come and go; a quota may name one before it is there."""
        while True:
            try:
                await asyncio.wait_for(self._undiscovered.wait(), DISCOVER_EVERY_S)
            except TimeoutError:
                pass
            self._undiscovered.clear()
            if self._named():
                await self._discover()

    def _named(self) -> bool:
        """Whether any quota counts what has to be discovered."""
        return any(
            name.startswith("count/") or name in quota.COUNTED_BY_NAME
            for obj in self.informer(RESOURCE_QUOTAS).list()
            for name in meta.spec(obj).get("hard") or ()
        )

    async def _discover(self) -> None:
        try:
            found = await discover(self._client)
        except ApiError as error:
            log.warning("cannot discover the API's resources", error=error.message)
            return
        before = set(self._resources)
        self._resources = {
            (each.group, each.plural): each
            for each in found.resources
            if each.namespaced and {"list", "watch"} <= each.verbs
        }
        for key in [key for key in self._counted if key not in self._resources]:
            del self._counted[key]
        if set(self._resources) != before:
            for obj in self.informer(RESOURCE_QUOTAS).list():
                self.enqueue(obj)

    def _quota_changed(self, old: JsonObject, new: JsonObject) -> None:
        key = meta.key(new)
        if (meta.status(old).get("used") or {}) != (meta.status(new).get("used") or {}):
            self._charged_at[key] = self.host.clock.monotonic()
        if meta.spec(old) != meta.spec(new):
            self.queue.add(key)

    def _quota_gone(self, obj: JsonObject) -> None:
        self._charged_at.pop(meta.key(obj), None)
        self._waits_since.pop(meta.key(obj), None)

    def _changed(self, old: JsonObject, new: JsonObject) -> None:
        """What may have come to use less."""
        now_s = self.host.clock.now()
        if new["kind"] == "Pod":
            if (quota.counts(old, now_s) and not quota.counts(new, now_s)) or _resized(old, new):
                self._freed(new)
        elif meta.spec(old) != meta.spec(new):
            self._freed(new)

    def _freed(self, obj: JsonObject) -> None:
        for found in self.informer(RESOURCE_QUOTAS).list(meta.namespace(obj)):
            self.enqueue(found)

    async def reconcile(self, key: str) -> float | None:
        obj = self.informer(RESOURCE_QUOTAS).get(key)
        if obj is None or meta.is_deleting(obj):
            return None
        hard = meta.spec(obj).get("hard") or {}
        used = await self._count(obj, hard)
        status = {"hard": dict(hard), "used": used}
        if meta.status(obj) == status:
            self._waits_since.pop(key, None)
            return None
        if quota.lowers(obj, used) and (wait_s := self._settling(key)) > 0:
            return wait_s
        self._waits_since.pop(key, None)
        await self.writer(RESOURCE_QUOTAS).update_status({**obj, "status": status})
        return None

    def _settling(self, key: str) -> float:
        """How long to wait until what was charged is surely there, or given up."""
        now = self.host.clock.monotonic()
        since = self._waits_since.setdefault(key, now)
        charged = self._charged_at.get(key, float("-inf"))
        return min(charged + SETTLE_S, since + SETTLE_MAX_S) - now

    async def _count(self, obj: JsonObject, hard: Iterable[str]) -> dict[str, str]:
        names = list(hard)
        usages: list[Usage] = []
        for group, plural in await self._concerned(names):
            usages += [
                quota.usage_of(group, plural, each, self.host.clock.now())
                for each in await self._objects(group, plural, meta.namespace(obj))
                if quota.covers(obj, group, plural, each)
            ]
        return quota.total(usages, names)

    async def _concerned(self, names: list[str]) -> list[tuple[str, str]]:
        """The resources that a quota is about; of those that are not served nothing is used."""
        found = [key for key in WHOLE if any(quota.is_tracked(name, *key) for name in names)]
        for name in names:
            plural, _, group = name.removeprefix("count/").partition(".")
            key = (group, plural) if name.startswith("count/") else ("", name)
            if key in WHOLE or key in found or not (name.startswith("count/") or name in quota.COUNTED_BY_NAME):
                continue
            if key not in self._resources:
                await self._discover()
            if key in self._resources:
                found.append(key)
        return found

    async def _objects(self, group: str, plural: str, namespace: str) -> Iterable[JsonObject]:
        whole = WHOLE.get((group, plural))
        if whole is not None:
            return self.informer(whole).list(namespace)
        informer = self._counted.get((group, plural))
        if informer is None:
            version = self._resources[group, plural].version
            informer = self._informer_factory.metadata_informer(group, version, plural)
            informer.add_handler(deleted=self._freed)
            self._counted[group, plural] = informer
        await asyncio.wait_for(informer.wait_synced(), SYNC_S)
        return informer.list(namespace)


def _resized(old: JsonObject, new: JsonObject) -> bool:
    """Whether a pod asks for something else, or was given it."""

    def asked(pod: JsonObject) -> list[object]:
        spec = meta.spec(pod)
        return [item.get("resources") for group in ("containers", "initContainers") for item in spec.get(group) or ()]

    return asked(old) != asked(new) or resources.granted(old) != resources.granted(new)
