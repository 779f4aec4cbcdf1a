"""Patch: JSON, merge and strategic merge on the present state, retried while others write; and server-side apply."""

from __future__ import annotations

from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.decode import unsupported
from control_plane.apiserver.patch.patches import Patch, parse_patch
from control_plane.apiserver.request import Answer, PatchType, Request
from control_plane.apiserver.schema.schemas import Compiled, patch_error, strict_message
from control_plane.apiserver.verbs import apply, body
from control_plane.apiserver.verbs.context import Context, answer
from control_plane.apiserver.verbs.update import check_identity, check_preconditions, finish, guaranteed


async def patch(context: Context, request: Request) -> Answer:
    """Raises ApiError."""
    body.check_options(request)
    served = request.served
    if request.patch_type is PatchType.APPLY:
        return await apply.apply(context, request)
    if served.kind.custom and request.patch_type is PatchType.STRATEGIC:
        raise unsupported(tuple(kind.value for kind in PatchType if kind is not PatchType.STRATEGIC))
    assert request.patch_type is not None
    compiled = context.schemas.for_kind(served.group, served.version, served.kind.kind)
    parsed = parse_patch(request.patch_type.value, request.body, compiled)
    entry = await guaranteed(context, request, lambda old: _patched(context, request, parsed, compiled, old))
    return answer(served, entry)


async def _patched(context: Context, request: Request, parsed: Patch, compiled: Compiled, old: Entry) -> JsonObject:
    served = request.served
    present, _ = old.form(served.convert, served.api_version)
    patched = patched_object(request, parsed, compiled, present)
    check_preconditions(request, patched, old)
    check_identity(request, patched)
    return await finish(context, request, served.to_storage(patched), old)


def patched_object(request: Request, parsed: Patch, compiled: Compiled, present: JsonObject) -> JsonObject:
    """A private, checked object. Raises ApiError 400, 422."""
    patched = meta.copy_object(parsed.apply(present))
    if not isinstance(patched.get("metadata"), dict):
        raise errors.bad_request("a patch must leave an object with metadata")
    result = compiled.check(patched)
    if result.errors:
        raise patch_error(result.errors[0].message, request.body.decode("utf-8", "replace"))
    problems = [*result.unknown, *parsed.problems]
    mode = request.write.field_validation
    if problems and mode == body.STRICT:
        raise patch_error(strict_message(problems), request.body.decode("utf-8", "replace"))
    if mode != body.IGNORE:
        for problem in problems:
            request.warn(problem)
    for key, value in (("apiVersion", compiled.api_version), ("kind", compiled.kind)):
        if patched.get(key) not in (None, "", value):
            raise errors.bad_request(f"a patch must not change {key}")
        patched[key] = value
    return patched
