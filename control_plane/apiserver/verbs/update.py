"""Update: read, build the new object, write at the read revision, and again when another was faster.

`guaranteed` is what every changing verb but create goes through: PUT, all patches, status and other subresources.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from argosy.kinds.kind import Kind
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation
from control_plane.apiserver.allocate import services
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.request import Answer, Request
from control_plane.apiserver.resources import Served
from control_plane.apiserver.storage.store import NO_CLAIMS, Changed, Claims, ClaimTaken
from control_plane.apiserver.verbs import body, managed, metadata
from control_plane.apiserver.verbs.context import Context, answer, encoded, made, missing, view
from control_plane.apiserver.verbs.create import create_object

MAX_ATTEMPTS: Final = 64
"""Upstream retries for ever; a client's time-out ends it long before this."""

Build = Callable[[Entry], Awaitable[JsonObject]]
"""From the present state to the new object in the stored version, validated; its maker gives it away."""


async def update(context: Context, request: Request) -> Answer:
    """PUT of the whole object, or of its status. Raises ApiError."""
    served = request.served
    obj = body.read(request, context.schemas, body.expected_of(served))
    check_identity(request, obj)
    stored = served.to_storage(obj)
    try:
        entry = await guaranteed(context, request, lambda old: _replaced(context, request, stored, old))
    except errors.ApiError as error:
        creates = served.kind.allow_create_on_update and not request.subresource
        if error.code != 404 or not creates or stored["metadata"].get("uid"):
            raise
        if stored["metadata"].get("resourceVersion"):
            raise
        context.check_may_create(request)
        return await create_object(context, request, stored)
    return answer(served, entry)


def check_identity(request: Request, obj: JsonObject) -> None:
    """The object is the one that the path names. Raises ApiError 400."""
    data, name = obj["metadata"], request.name
    body.check_namespace(request, obj)
    given = data.get("name") or ""
    if not given:
        raise errors.bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if given != name:
        raise errors.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


async def _replaced(context: Context, request: Request, sent: JsonObject, old: Entry) -> JsonObject:
    new = meta.copy_object(sent)
    check_preconditions(request, new, old)
    return await finish(context, request, new, old)


def check_preconditions(request: Request, new: JsonObject, old: Entry) -> None:
    """A resourceVersion or uid in the new object must be the old one's; some kinds need the former.

    Raises ApiError 409, 422 (apiserver `registry/generic/registry/store.go`, Update).
    """
    data = new["metadata"]
    version = data.get("resourceVersion") or ""
    served = request.served
    if version in ("", "0"):
        if not served.kind.unconditional_update and request.verb == "update" and not request.subresource:
            failure = errors.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise errors.invalid(served.kind.group, served.kind.kind, request.name, [failure])
    elif version != str(old.revision):
        raise errors.conflict(served.group, served.plural, request.name)
    uid = data.get("uid") or ""
    if uid and uid != meta.uid(old.obj):
        raise errors.conflict(
            served.group,
            served.plural,
            request.name,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {meta.uid(old.obj)}",
        )


async def finish(
    context: Context, request: Request, new: JsonObject, old: Entry, *, record: bool = True
) -> JsonObject:
    """What every update has in common, once the new object is built: defaults, admission, rules, bookkeeping."""
    kind = request.served.kind
    if request.subresource == "status":
        new = _status_only(new, old.obj, kind)
    new["metadata"].pop("resourceVersion", None)
    metadata.prepare_update(new, old.obj)
    repeated = metadata.drop_repeated_owners(new, patched=request.verb == "patch")
    if repeated:
        request.warn(repeated)
    kind.default(new)
    attributes = Attributes(Operation.UPDATE, request, new, old.obj)
    await context.admission.mutate(attributes)
    if not request.subresource:
        if kind.kind == "Service" and not kind.group:
            services.adjust(new, old.obj)
        kind.prepare_update(new, old.obj)
    metadata.bump_generation(new, old.obj, kind, request.subresource)
    _raise_invalid(request, new, old.obj)
    await context.admission.validate(attributes)
    if record:
        compiled = context.schemas.for_kind(kind.group, kind.version, kind.kind)
        now_s = context.host.clock.now()
        managed.record(request, new, old.obj, compiled, now_s, _recorded_subresource(request))
    return new


def _recorded_subresource(request: Request) -> str:
    return request.subresource if request.subresource in ("status", "scale", *OWN_RULES) else ""


OWN_RULES: Final = ("approval", "ephemeralcontainers", "finalize", "resize")
"""Subresources that exist to change what an update may not; they say themselves what is allowed."""


def _status_only(new: JsonObject, old: JsonObject, kind: Kind) -> JsonObject:
    """The old object with the new status, and with the new metadata but for what the kind's strategy keeps."""
    result = {key: value for key, value in meta.copy_object(old).items() if key not in ("metadata", "status")}
    result["metadata"] = new["metadata"]
    for key in kind.status_keeps_metadata:
        if key in old["metadata"]:
            result["metadata"][key] = meta.copy(old["metadata"][key])
        else:
            result["metadata"].pop(key, None)
    if "status" in new:
        result["status"] = new["status"]
    kind.prepare_status_update(result, old)
    return result


def _raise_invalid(request: Request, new: JsonObject, old: JsonObject) -> None:
    kind = request.served.kind
    failures = metadata.validate(new, kind) + metadata.validate_update(new, old)
    if request.subresource == "status":
        failures += kind.validate_status_update(new, old)
    else:
        if not kind.custom:  # the rules of a custom kind compare with the old object: all are in validate_update
            failures += kind.validate(new)
        if request.subresource not in OWN_RULES:
            failures += kind.validate_update(new, old)
        elif request.subresource in kind.validate_subresources:
            failures += kind.validate_subresources[request.subresource](new, old)
    if failures:
        raise errors.invalid(kind.group, kind.kind, meta.name(new), failures)


async def guaranteed(context: Context, request: Request, build: Build) -> Entry:
    """Apply `build` to the present state and store the result; again when another write came between.

    The first try starts from the cache; whatever `build` refuses is asked once more of the newest state.
    Raises ApiError.
    """
    served = request.served
    short = served.cache_key(request.namespace, request.name)
    key = served.cache.prefix + short
    entry = served.cache.get(short)
    newest = False
    for _ in range(MAX_ATTEMPTS):
        if entry is None:
            if newest:
                raise missing(served, request.name)
            entry, newest = await _read(context, served, key, short), True
            continue
        try:
            new = await build(await view(served, entry))
        except errors.ApiError:
            if newest:
                raise
            fresh, newest = await _read(context, served, key, short), True
            if fresh is not None and fresh.revision == entry.revision:
                raise
            entry = fresh
            continue
        try:
            return await _store(context, request, key, new, entry)
        except Changed as changed:
            current = changed.current
            entry = served.cache.decode(short, current.value, current.revision) if current is not None else None
            newest = True
        except ClaimTaken:
            newest = True
    raise errors.conflict(served.group, served.plural, request.name)


async def _read(context: Context, served: Served, key: str, short: str) -> Entry | None:
    stored = await context.store.read(key)
    return None if stored is None else served.cache.decode(short, stored.value, stored.revision)


async def _store(context: Context, request: Request, key: str, new: JsonObject, old: Entry) -> Entry:
    """Write, or delete when the last finalizer went. Raises Changed, ClaimTaken."""
    served = request.served
    claims = context.allocator.plan_update(request, new, old.obj)
    same = metadata.unchanged(new, (await view(served, old)).obj) and not claims.take and not claims.release
    if same and not context.store.is_stale(key):
        return old
    stored, value = await encoded(served, new)
    if request.write.dry_run:
        return made(served, old.key, old.revision, new, stored, value)
    if finished(new):
        release = context.allocator.plan_delete(old.obj)
        revision = await context.store.remove(key, old.revision, release)
        return made(served, old.key, revision, new, stored, value)
    try:
        return await write(context, served, key, new, stored, value, old, claims)
    except ClaimTaken as taken:
        context.allocator.taken(claims, taken)
        raise


async def write(
    context: Context,
    served: Served,
    key: str,
    new: JsonObject,
    stored: JsonObject,
    value: bytes,
    old: Entry,
    claims: Claims = NO_CLAIMS,
) -> Entry:
    """`value` is `stored` encoded, which is `new` as it is stored."""
    revision = await context.store.replace(key, value, old.revision, claims)
    entry = made(served, old.key, revision, new, stored, value)
    context.feeder.wrote(key, entry)
    return entry


def finished(obj: JsonObject) -> bool:
    """Whether a deleted object has nothing left to wait for."""
    data = obj["metadata"]
    if not data.get("deletionTimestamp") or data.get("finalizers") or data.get("deletionGracePeriodSeconds"):
        return False
    return not (obj["kind"] == "Namespace" and (obj.get("spec") or {}).get("finalizers"))
