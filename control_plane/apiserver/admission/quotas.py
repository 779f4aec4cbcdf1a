"""ResourceQuota: a namespace's quotas are charged for what is created, and refuse what is too much.

The charge is written to the quota's status at the revision that was judged, so that two requests, on one server or
on two, cannot both have the last piece. What was charged and not created after all, or is deleted, the quota
controller gives back. Rules and messages: k8s.io/apiserver `pkg/admission/plugin/resourcequota`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from argosy import quota as quotas
from argosy.host import Clock
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from argosy.quota import Usage
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.resources import Resources
from control_plane.apiserver.storage import codec
from control_plane.apiserver.storage.store import Changed, Store

MAX_ATTEMPTS: Final = 64
REMEMBERED: Final = 1000
ON_UPDATE: Final = ("services", "persistentvolumeclaims")
"""Core resources that may come to use more when they are changed."""


class ResourceQuotaAdmission(Plugin):
    name = "ResourceQuota"

    def __init__(self, resources: Resources, store: Store, clock: Clock) -> None:
        self._quotas = resources.require("", "resourcequotas")
        self._store = store
        self._clock = clock
        self._locks: OrderedDict[str, asyncio.Lock] = OrderedDict()
        self._written: OrderedDict[str, Entry] = OrderedDict()
        """Own writes, which the cache may not show yet."""

    async def validate(self, attributes: Attributes) -> None:
        """Raises ApiError 403, and 409 when others are always faster."""
        resizes = attributes.is_for("", "pods", "resize")
        if (attributes.subresource and not resizes) or attributes.obj is None or not attributes.kind.namespaced:
            return
        if attributes.kind.virtual or not self._concerns(attributes):
            return
        entries = self._quotas.cache.select(attributes.namespace)
        if not entries:
            return
        group, plural = attributes.kind.group, attributes.kind.plural
        delta = self._delta(attributes)
        for entry in entries:
            self._check(attributes, entry.obj, delta)
        for entry in entries:
            names = _tracked(entry.obj, group, plural)
            if names and quotas.covers(entry.obj, group, plural, attributes.obj):
                wanted = {name: amount for name, amount in delta.items() if name in names and amount.nano > 0}
                if wanted:
                    await self._charge(attributes, entry, wanted)

    @staticmethod
    def _concerns(attributes: Attributes) -> bool:
        if attributes.operation is Operation.CREATE:
            return True
        kind = attributes.kind
        grows = kind.plural in ON_UPDATE or bool(attributes.subresource)
        return attributes.operation is Operation.UPDATE and not kind.group and grows

    def _delta(self, attributes: Attributes) -> Usage:
        assert attributes.obj is not None
        group, plural, now_s = attributes.kind.group, attributes.kind.plural, self._clock.now()
        usage = quotas.usage_of(group, plural, attributes.obj, now_s)
        if attributes.old is not None:
            before = quotas.usage_of(group, plural, attributes.old, now_s)
            usage = {name: value - before.get(name, quotas.ZERO) for name, value in usage.items()}
        return usage

    def _check(self, attributes: Attributes, quota: JsonObject, delta: Usage) -> None:
        """What can be said without writing. Raises ApiError 403."""
        group, plural, obj = attributes.kind.group, attributes.kind.plural, attributes.obj
        assert obj is not None
        names = _tracked(quota, group, plural)
        if not names or not quotas.covers(quota, group, plural, obj):
            return
        if not group and plural == "pods" and (complaint := quotas.unsaid(obj, names)):
            raise _refusal(attributes, f"failed quota: {meta.name(quota)}: {complaint}")
        used = meta.status(quota).get("used") or {}
        unknown = [name for name in names if name not in used]
        if unknown:
            listed = ",".join(sorted(names))
            raise _refusal(attributes, f"status unknown for quota: {meta.name(quota)}, resources: {listed}")
        self._judge(attributes, quota, {name: delta[name] for name in names if name in delta})

    def _judge(self, attributes: Attributes, quota: JsonObject, delta: Usage) -> Usage:
        """What is used then. Raises ApiError 403 when it is too much."""
        new, exceeded = quotas.charge(quota, delta)
        if exceeded:
            asked, used, limited = (
                quotas.shown({name: values[index] for name, values in exceeded.items()}) for index in range(3)
            )
            detail = f"exceeded quota: {meta.name(quota)}, requested: {asked}, used: {used}, limited: {limited}"
            raise _refusal(attributes, detail)
        return new

    async def _charge(self, attributes: Attributes, entry: Entry, delta: Usage) -> None:
        """Write what is used then, from the newest state on. Raises ApiError."""
        short = entry.key
        async with self._lock(short):
            known = self._written.get(short)
            current: Entry | None = known if known is not None and known.revision > entry.revision else entry
            for _ in range(MAX_ATTEMPTS):
                if current is None:
                    # The quota was deleted meanwhile.
                    return
                used = self._judge(attributes, current.obj, delta)
                if attributes.is_dry_run:
                    return
                try:
                    self._remember(await self._write(current, used))
                    return
                except Changed as changed:
                    found = changed.current
                    current = None if found is None else Entry.stored(short, found.value, found.revision)
        raise errors.conflict("", "resourcequotas", meta.name(entry.obj))

    async def _write(self, entry: Entry, used: Usage) -> Entry:
        """Raises Changed."""
        old = entry.obj
        listed = {**(meta.status(old).get("used") or {}), **{name: str(value) for name, value in used.items()}}
        metadata = {key: value for key, value in old["metadata"].items() if key != "resourceVersion"}
        new = {**old, "metadata": metadata, "status": {**meta.status(old), "used": listed}}
        value = codec.encode(new)
        revision = await self._store.replace(self._quotas.cache.prefix + entry.key, value, entry.revision)
        return Entry.stored(entry.key, value, revision)

    def _remember(self, entry: Entry) -> None:
        self._written[entry.key] = entry
        self._written.move_to_end(entry.key)
        if len(self._written) > REMEMBERED:
            self._written.popitem(last=False)

    def _lock(self, short: str) -> asyncio.Lock:
        """One writer at a time in this process: the others' attempts would only fail."""
        lock = self._locks.setdefault(short, asyncio.Lock())
        self._locks.move_to_end(short)
        if len(self._locks) > REMEMBERED:
            oldest, held = next(iter(self._locks.items()))
            if not held.locked():
                del self._locks[oldest]
        return lock


def _tracked(quota: JsonObject, group: str, plural: str) -> list[str]:
    """The names in a quota's status that are about a resource."""
    return [name for name in meta.status(quota).get("hard") or () if quotas.is_tracked(name, group, plural)]


def _refusal(attributes: Attributes, detail: str) -> errors.ApiError:
    served = attributes.request.served
    return errors.forbidden(served.group, served.plural, meta.name(attributes.obj or {}), detail)
