"""Create: from a body to a stored object, or the 4xx that says why not."""

from __future__ import annotations

from typing import Final

from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.request import Answer, Request
from control_plane.apiserver.storage.store import Changed, ClaimTaken
from control_plane.apiserver.verbs import body, managed, metadata
from control_plane.apiserver.verbs.context import Context, answer, encoded, made

GENERATE_ATTEMPTS: Final = 8
CLAIM_ATTEMPTS: Final = 16


async def create(context: Context, request: Request) -> Answer:
    """Raises ApiError."""
    served = request.served
    obj = body.read(request, context.schemas, body.expected_of(served))
    _check_body(request, obj)
    return await create_object(context, request, served.to_storage(obj))


def _check_body(request: Request, obj: JsonObject) -> None:
    data = obj["metadata"]
    if data.get("resourceVersion"):
        raise errors.bad_request("resourceVersion should not be set on objects to be created")
    body.check_namespace(request, obj)


async def create_object(context: Context, request: Request, obj: JsonObject, *, record: bool = True) -> Answer:
    """Store a checked object, in the stored version; the caller gives it away. Raises ApiError."""
    if request.served.custom is not None and request.served.custom.terminating:
        message = "create not allowed while custom resource definition is terminating"
        raise errors.status_error(405, "MethodNotAllowed", message)
    generated = not obj["metadata"].get("name") and bool(obj["metadata"].get("generateName"))
    for attempt in range(GENERATE_ATTEMPTS if generated else 1):
        candidate = meta.copy_object(obj) if generated else obj
        try:
            entry = await _attempt(context, request, candidate, record)
        except Changed:
            if generated and attempt + 1 < GENERATE_ATTEMPTS:
                continue
            served = request.served
            name = meta.name(candidate)
            if not generated:
                raise errors.already_exists(served.group, served.plural, name) from None
            status = errors.already_exists(served.group, served.plural, name).status
            status["details"]["retryAfterSeconds"] = 1
            raise errors.ApiError(status) from None
        return answer(request.served, entry, 201)
    raise AssertionError("unreachable")


async def _attempt(context: Context, request: Request, obj: JsonObject, record: bool) -> Entry:
    """Raises Changed when the name is taken."""
    served, kind = request.served, request.served.kind
    metadata.prepare_create(obj, kind, request.namespace, context.host)
    repeated = metadata.drop_repeated_owners(obj, patched=False)
    if repeated:
        request.warn(repeated)
    kind.default(obj)
    attributes = Attributes(Operation.CREATE, request, obj, None)
    await context.admission.mutate(attributes)
    kind.prepare_create(obj)
    _raise_invalid(request, obj)
    await context.admission.validate(attributes)
    compiled = context.schemas.for_kind(kind.group, kind.version, kind.kind)
    wanted = meta.copy(obj.get("spec"))
    for attempt in range(CLAIM_ATTEMPTS):
        if attempt:
            obj["spec"] = meta.copy(wanted)
        claims = context.allocator.plan_create(request, obj)
        if record:
            managed.record(request, obj, None, compiled, context.host.clock.now())
        stored, value = await encoded(served, obj)
        short = served.cache_key(request.namespace, meta.name(obj))
        key = served.cache.prefix + short
        if request.write.dry_run:
            if served.cache.get(short) is not None:
                raise Changed(None)
            return made(served, short, 0, obj, stored, value)
        try:
            revision = await context.store.create(key, value, claims)
        except ClaimTaken as taken:
            context.allocator.taken(claims, taken)
            continue
        entry = made(served, short, revision, obj, stored, value)
        context.feeder.wrote(key, entry)
        return entry
    raise errors.internal("no free address or port was found; please try again")


def _raise_invalid(request: Request, obj: JsonObject) -> None:
    kind = request.served.kind
    failures = metadata.validate(obj, kind) + kind.validate(obj) + kind.validate_create(obj)
    if request.served.convert is not None:
        failures += request.served.convert.validate_create(obj)
    if failures:
        raise errors.invalid(kind.group, kind.kind, meta.name(obj), failures)
