"""Server-side apply: create or merge by field ownership (KEP-555); the merging itself is `managed_fields.apply`."""

from __future__ import annotations

from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver import managed_fields
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.decode import decode
from control_plane.apiserver.request import Answer, Request
from control_plane.apiserver.schema.schemas import Compiled
from control_plane.apiserver.verbs import body
from control_plane.apiserver.verbs.context import Context, answer
from control_plane.apiserver.verbs.create import create_object
from control_plane.apiserver.verbs.update import check_preconditions, finish, guaranteed


async def apply(context: Context, request: Request) -> Answer:
    """Raises ApiError."""
    served = request.served
    compiled = context.schemas.for_kind(served.group, served.version, served.kind.kind)
    applied = configuration(request, served.kind.kind)
    try:
        entry = await guaranteed(context, request, lambda old: _merged(context, request, applied, compiled, old))
    except errors.ApiError as error:
        if error.code != 404 or request.subresource or applied["metadata"].get("uid"):
            raise
    else:
        return answer(served, entry)
    context.check_may_create(request)
    applied["metadata"].setdefault("name", request.name)
    made = laid_over(context, request, None, applied, compiled)
    return await create_object(context, request, served.to_storage(made), record=False)


def configuration(request: Request, kind: str) -> JsonObject:
    """The applied configuration: YAML, of which JSON is a part."""
    decoded = decode(request.body, "application/apply-patch+yaml", expected=kind)
    applied = decoded.obj
    if decoded.duplicates:
        if request.write.field_validation == body.STRICT:
            raise errors.bad_request("error strict decoding YAML: " + ", ".join(decoded.duplicates))
        if request.write.field_validation != body.IGNORE:
            for text in decoded.duplicates:
                request.warn(text)
    metadata = applied.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise errors.bad_request("metadata must be an object")
    name = metadata.get("name") or request.name
    if name != request.name:
        raise errors.bad_request(
            f"name in the configuration ({name}) does not match the name on the URL ({request.name})"
        )
    given = metadata.get("namespace") or request.namespace
    if request.served.kind.namespaced and given != request.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    return applied


def laid_over(
    context: Context, request: Request, live: JsonObject | None, applied: JsonObject, compiled: Compiled
) -> JsonObject:
    made = managed_fields.apply(
        live,
        applied,
        request.write.field_manager,
        bool(request.write.force),
        compiled.api_version,
        request.subresource,
        context.host.clock.now(),
        compiled,
    )
    compiled.decoded(made)
    return made


async def _merged(
    context: Context, request: Request, applied: JsonObject, compiled: Compiled, old: Entry
) -> JsonObject:
    served = request.served
    check_preconditions(request, applied, old)
    present, _ = old.form(served.convert, served.api_version)
    made = laid_over(context, request, present, applied, compiled)
    made["metadata"].pop("uid", None)
    if meta.uid(old.obj):
        made["metadata"]["uid"] = meta.uid(old.obj)
    return await finish(context, request, served.to_storage(made), old, record=False)
