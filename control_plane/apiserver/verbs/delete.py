"""Delete and deletecollection: preconditions, graceful deletion of pods, finalizers, propagation, namespaces.

Rules: k8s.io/apiserver `registry/rest/delete.go` and `registry/generic/registry/store.go`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Final

import orjson

from argosy.host import parse_rfc3339, rfc3339
from argosy.kinds.kind import delete_at_once
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.status import FieldError
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.decode import decode
from control_plane.apiserver.request import Answer, ListAnswer, Request
from control_plane.apiserver.resources import Served
from control_plane.apiserver.storage import codec
from control_plane.apiserver.storage.store import Changed
from control_plane.apiserver.verbs import reads
from control_plane.apiserver.verbs.context import Context, answer, made, missing, prepare
from control_plane.apiserver.verbs.metadata import FOREGROUND, ORPHAN
from control_plane.apiserver.verbs.update import MAX_ATTEMPTS, write

COLLECTION_WORKERS: Final = 16
POLICIES: Final = ("Foreground", "Background", "Orphan")
_KNOWN: Final = frozenset(
    {
        "apiVersion",
        "kind",
        "gracePeriodSeconds",
        "preconditions",
        "propagationPolicy",
        "orphanDependents",
        "dryRun",
        "ignoreStoreReadErrorWithClusterBreakingPotential",
    }
)


@dataclass(frozen=True)
class DeleteOptions:
    grace_period_s: int | None = None
    policy: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def parse_options(request: Request) -> DeleteOptions:
    """The options of the query, with the body's over them. Raises ApiError 400, 422."""
    options: JsonObject = dict(request.delete_options or {})
    if request.body.strip():
        sent = decode(request.body, request.content_type, expected="DeleteOptions").obj
        _check_kind(request, sent)
        options.update({key: value for key, value in sent.items() if value is not None})
    unknown = sorted(set(options) - _KNOWN)
    if unknown:
        request.warn(f'unknown field "{unknown[0]}"')
    if options.get("ignoreStoreReadErrorWithClusterBreakingPotential"):
        raise errors.bad_request("ignoreStoreReadErrorWithClusterBreakingPotential is not supported")
    policy, legacy = options.get("propagationPolicy"), options.get("orphanDependents")
    dry_run = options.get("dryRun") or []
    failures: list[FieldError] = []
    if policy is not None and legacy is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        failures.append(errors.invalid_value("propagationPolicy", policy, detail))
    if policy is not None and policy not in POLICIES:
        failures.append(errors.not_supported("propagationPolicy", policy, [*POLICIES, "nil"]))
    if not isinstance(dry_run, list):
        raise errors.bad_request("dryRun must be a list")
    if legacy is not None and not isinstance(legacy, bool):
        raise errors.bad_request("orphanDependents must be a boolean")
    if any(value != "All" for value in dry_run):
        failures.append(errors.not_supported("dryRun", dry_run, ["All"]))
    if failures:
        raise errors.invalid("meta.k8s.io", "DeleteOptions", "", failures)
    if legacy is not None:
        policy = "Orphan" if legacy else "Background"
    grace = options.get("gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
        raise errors.bad_request("gracePeriodSeconds must be an integer")
    preconditions = options.get("preconditions", {})
    if not isinstance(preconditions, dict) or not all(
        isinstance(preconditions.get(key) or "", str) for key in ("uid", "resourceVersion")
    ):
        raise errors.bad_request("preconditions must be an object of strings")
    return DeleteOptions(
        grace_period_s=None if grace is None else (1 if grace < 0 else grace),
        policy=policy or "",
        uid=str(preconditions.get("uid") or ""),
        resource_version=str(preconditions.get("resourceVersion") or ""),
        dry_run=bool(dry_run) or request.write.dry_run,
    )


def _check_kind(request: Request, sent: JsonObject) -> None:
    """The meta group's options, or any group's own name for them. Raises ApiError 400."""
    kind, version = sent.get("kind") or "DeleteOptions", sent.get("apiVersion") or "v1"
    if kind != "DeleteOptions" or version not in ("v1", "meta.k8s.io/v1", request.served.api_version):
        raise errors.bad_request(f'no kind "{kind}" is registered for version "{version}"')


async def delete(context: Context, request: Request) -> Answer:
    """Raises ApiError."""
    options = parse_options(request)
    entry, removed = await delete_object(context, request, options)
    await prepare(request.served, (entry,))
    if not removed or request.served.kind.delete_returns_object:
        return answer(request.served, entry)
    return _success(request, entry)


def _success(request: Request, entry: Entry) -> Answer:
    served = request.served
    details: JsonObject = {"name": meta.name(entry.obj)}
    if served.group:
        details["group"] = served.group
    details |= {"kind": served.plural, "uid": meta.uid(entry.obj)}
    status: JsonObject = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }
    return Answer(status, orjson.dumps(status))


async def delete_object(
    context: Context, request: Request, options: DeleteOptions, *, admit: bool = True
) -> tuple[Entry, bool]:
    """(last or present state, whether it is gone). Not `admit`: admission has had its say. Raises ApiError."""
    served = request.served
    short = served.cache_key(request.namespace, request.name)
    key = served.cache.prefix + short
    entry = served.cache.get(short)
    newest = False
    for _ in range(MAX_ATTEMPTS):
        if entry is None:
            if newest:
                raise missing(served, request.name)
            stored = await context.store.read(key)
            entry, newest = (served.cache.decode(short, stored.value, stored.revision) if stored else None), True
            continue
        try:
            _check_preconditions(request, options, entry)
            if admit:
                deletion = Attributes(Operation.DELETE, request, None, entry.obj, options.dry_run)
                await context.admission.admit(deletion)
        except errors.ApiError:
            if newest:
                raise
            entry = None
            continue
        new = _marked(context, request, options, entry)
        if new is entry.obj:
            return entry, False
        try:
            if new is None:
                return await _remove(context, key, entry, options), True
            return await _mark(context, served, key, new, entry, options), False
        except Changed as changed:
            current = changed.current
            entry = served.cache.decode(short, current.value, current.revision) if current is not None else None
            newest = True
    raise errors.conflict(served.group, served.plural, request.name)


def _check_preconditions(request: Request, options: DeleteOptions, entry: Entry) -> None:
    served = request.served
    if options.uid and options.uid != meta.uid(entry.obj):
        detail = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({meta.uid(entry.obj)}). "
            "The object might have been deleted and then recreated"
        )
        raise errors.conflict(served.group, served.plural, request.name, detail)
    if options.resource_version and options.resource_version != str(entry.revision):
        detail = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
            f"ResourceVersion in record ({entry.revision}). The object might have been modified"
        )
        raise errors.conflict(served.group, served.plural, request.name, detail)


async def _remove(context: Context, key: str, entry: Entry, options: DeleteOptions) -> Entry:
    if options.dry_run:
        return entry
    revision = await context.store.remove(key, entry.revision, context.allocator.plan_delete(entry.obj))
    return entry.at(revision)


async def _mark(
    context: Context, served: Served, key: str, new: JsonObject, old: Entry, options: DeleteOptions
) -> Entry:
    if options.dry_run:
        return made(served, old.key, old.revision, new, new, codec.encode(new))
    return await write(context, served, key, new, new, codec.encode(new), old)


def _marked(context: Context, request: Request, options: DeleteOptions, entry: Entry) -> JsonObject | None:
    """The object as marked for deletion; the same object when nothing changes; None when it can go at once."""
    kind = request.served.kind
    old = entry.obj
    if kind.prepare_delete is not delete_at_once and not meta.is_deleting(old):
        old = meta.copy_object(old)
        kind.prepare_delete(old, rfc3339(context.host.clock.now()))
    grace_s = _grace_s(options, old) if kind.graceful else 0
    finalizers = _finalizers(options, old)
    held = bool(finalizers) or (kind.kind == "Namespace" and bool(meta.spec(old).get("finalizers")))
    if meta.is_deleting(old):
        if kind.graceful and not _shortens(options, old):
            return old if _waits(old) or held else None
        if grace_s == 0 and not held:
            return None
    elif grace_s == 0 and not held:
        return None
    new = {**old, "metadata": dict(old["metadata"])}
    data = new["metadata"]
    if finalizers:
        data["finalizers"] = finalizers
    else:
        data.pop("finalizers", None)
    now = context.host.clock.now()
    if not meta.is_deleting(old):
        data["deletionTimestamp"] = rfc3339(now + grace_s)
        if kind.graceful or not meta.is_deleting(old):
            data["deletionGracePeriodSeconds"] = grace_s
        if data.get("generation"):
            data["generation"] += 1
    elif kind.graceful:
        began = parse_rfc3339(data["deletionTimestamp"]) - float(data.get("deletionGracePeriodSeconds") or 0)
        data["deletionTimestamp"] = rfc3339(began + grace_s)
        data["deletionGracePeriodSeconds"] = grace_s
    if kind.kind == "Namespace":
        data.pop("deletionGracePeriodSeconds", None)
        new["status"] = {**meta.status(old), "phase": "Terminating"}
    return old if new == old else new


def _waits(old: JsonObject) -> bool:
    return bool(old["metadata"].get("deletionGracePeriodSeconds"))


def _shortens(options: DeleteOptions, old: JsonObject) -> bool:
    """A second delete only counts when it leaves less time (or the first left none)."""
    left = int(old["metadata"].get("deletionGracePeriodSeconds") or 0)
    if left == 0:
        return True
    return options.grace_period_s is not None and options.grace_period_s < left


def _grace_s(options: DeleteOptions, pod: JsonObject) -> int:
    """Pods that never ran, or have finished, need none."""
    if not meta.spec(pod).get("nodeName") or meta.status(pod).get("phase") in ("Succeeded", "Failed"):
        return 0
    if options.grace_period_s is not None:
        return options.grace_period_s
    period = meta.spec(pod).get("terminationGracePeriodSeconds")
    return 30 if period is None else max(int(period), 0) or (1 if int(period) < 0 else 0)


def _finalizers(options: DeleteOptions, old: JsonObject) -> list[str]:
    """The object's finalizers with the propagation policy's put in."""
    present = meta.finalizers(old)
    if not options.policy:
        return list(present)
    kept = [name for name in present if name not in (FOREGROUND, ORPHAN)]
    if options.policy == "Orphan":
        kept.append(ORPHAN)
    elif options.policy == "Foreground":
        kept.append(FOREGROUND)
    return kept


async def delete_collection(context: Context, request: Request) -> ListAnswer:
    """Delete what the selectors choose; gives the list of it. Raises ApiError."""
    options = parse_options(request)
    listed = await reads.listed(context, request)
    gate = asyncio.Semaphore(COLLECTION_WORKERS)

    async def one(entry: Entry) -> None:
        space = meta.namespace(entry.obj)
        single = replace(request, verb="delete", namespace=space, name=meta.name(entry.obj), body=b"")
        async with gate:
            try:
                await delete_object(context, single, options)
            except errors.ApiError as error:
                if error.code != 404:
                    raise

    await asyncio.gather(*(one(entry) for entry in listed.entries))
    await prepare(request.served, listed.entries)
    return listed
