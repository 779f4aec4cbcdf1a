"""An HTTP request of a resource path as a pipeline `Request`: verb, selectors, options, body."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import HttpVersion11, web

from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver import wire
from control_plane.apiserver.auth.attributes import Action
from control_plane.apiserver.decode import media_type, unsupported
from control_plane.apiserver.patch.patches import PATCH_TYPES
from control_plane.apiserver.pipeline import MAX_BODY_BYTES, not_allowed, not_found
from control_plane.apiserver.request import ListOptions, PatchType, Request, User, WriteOptions
from control_plane.apiserver.resources import Resources, Served
from control_plane.apiserver.rest.paths import ApiPath

BODY_TIMEOUT_S: Final = 34.0
"""As long as upstream lets a write take (`requestTimeoutUpperBound`)."""
_BY_METHOD: Final = {"POST": "create", "PUT": "update", "PATCH": "patch"}


def verb_of(request: web.BaseRequest, path: ApiPath) -> str:
    """The API verb of any method (apiserver `request.NewRequestInfo`); empty for a method that has none."""
    method = request.method
    if method in ("GET", "HEAD"):
        if path.subresource or (path.name and not path.watch):
            return "get"
        return "watch" if path.watch or _wants_watch(request) else "list"
    if method == "DELETE":
        return "delete" if path.name else "deletecollection"
    return _BY_METHOD.get(method, "")


def _wants_watch(request: web.BaseRequest) -> bool:
    return "watch" in request.query and wire.boolean(request.query["watch"])


def attempted(request: web.BaseRequest, path: ApiPath, user: User) -> Action:
    """What a request tried that has no route: who may not even ask is told so first."""
    verb = verb_of(request, path)
    return Action(user, verb, path.group, path.resource, path.subresource, path.namespace, path.name)


def _check_route(request: web.BaseRequest, path: ApiPath, served: Served, verb: str) -> None:
    """Upstream has these routes only. Raises ApiError 404, 405."""
    nowhere = served.kind.namespaced and not path.namespace
    if nowhere and path.name:
        raise not_found()
    if not verb or request.method == "HEAD" or (nowhere and verb not in ("list", "watch")):
        raise not_allowed()
    if (verb in ("update", "patch") and not path.name) or (verb == "create" and path.name and not path.subresource):
        raise not_allowed()


async def read_body(request: web.BaseRequest) -> bytes:
    """Raises ApiError 413 past 3 MiB, 417 for an expectation that nobody meets, 504 when it takes too long."""
    try:
        return await asyncio.wait_for(_read_body(request), BODY_TIMEOUT_S)
    except TimeoutError:
        raise errors.timeout("Timeout: request did not complete within the allotted timeout", 0) from None


async def _expect(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to go on with its body (RFC 9110, 10.1.1)."""
    expectation = request.headers.get("Expect", "").lower()
    if expectation == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What was written belongs to no body: the final answer's headers are still to come.
        request.writer.output_size = 0
    elif expectation and expectation != "100-continue":
        raise errors.status_error(417, "", f"expectation failed: {expectation}")


async def _read_body(request: web.BaseRequest) -> bytes:
    length = request.content_length
    if length is not None and length > MAX_BODY_BYTES:
        raise errors.too_large(f"Request entity too large: limit is {MAX_BODY_BYTES}")
    await _expect(request)
    parts = bytearray()
    async for chunk in request.content.iter_any():
        parts += chunk
        if len(parts) > MAX_BODY_BYTES:
            raise errors.too_large(f"Request entity too large: limit is {MAX_BODY_BYTES}")
    return bytes(parts)


def list_options(request: web.BaseRequest) -> ListOptions:
    query = request.query
    timeout = query.get("timeoutSeconds", "")
    initial = query.get("sendInitialEvents", "")
    return ListOptions(
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=query.get("resourceVersionMatch", ""),
        limit=wire.integer(query["limit"]) if query.get("limit") else 0,
        continue_=query.get("continue", ""),
        timeout_s=(float(wire.integer(timeout)) or None) if timeout else None,
        allow_bookmarks=wire.boolean(query.get("allowWatchBookmarks", "false")),
        send_initial_events=wire.boolean(initial) if initial else None,
    )


def _write_options(request: web.BaseRequest) -> WriteOptions:
    query = request.query
    dry_run = [value for value in query.getall("dryRun", []) if value]
    return WriteOptions(
        dry_run=bool(dry_run),
        field_manager=query.get("fieldManager", ""),
        field_validation=query.get("fieldValidation", ""),
        force=wire.boolean(query["force"]) if "force" in query else None,
        unknown_dry_run=tuple(dry_run) if set(dry_run) - {"All"} else (),
    )


def _delete_options(request: web.BaseRequest) -> JsonObject:
    query = request.query
    options: JsonObject = {}
    if query.get("gracePeriodSeconds"):
        options["gracePeriodSeconds"] = wire.integer(query["gracePeriodSeconds"])
    if query.get("propagationPolicy"):
        options["propagationPolicy"] = query["propagationPolicy"]
    if query.get("orphanDependents"):
        options["orphanDependents"] = wire.boolean(query["orphanDependents"])
    if any(query.getall("dryRun", [])):
        options["dryRun"] = query.getall("dryRun")
    return options


def _patch_type(content_type: str) -> PatchType:
    media = media_type(content_type)
    for kind in PatchType:
        if kind.value == media:
            return kind
    raise unsupported(PATCH_TYPES)


async def build(request: web.BaseRequest, path: ApiPath, resources: Resources, user: User) -> Request:
    """Raises ApiError 400, 404, 405, 413, 415, 422."""
    served = resources.get(path.group, path.version, path.resource)
    if served is None or (path.namespace and not served.kind.namespaced):
        raise not_found()
    verb = verb_of(request, path)
    _check_route(request, path, served, verb)
    result = Request(
        user,
        verb,
        served,
        namespace=path.namespace,
        name=path.name,
        subresource=path.subresource,
        user_agent=request.headers.get("User-Agent", ""),
    )
    if verb in ("get", "list", "watch", "deletecollection"):
        result.options = list_options(request)
    if verb in ("create", "update", "patch", "delete", "deletecollection"):
        result.write = _write_options(request)
        result.content_type = request.headers.get("Content-Type", "")
        if verb == "patch":
            result.patch_type = _patch_type(result.content_type)
        if verb in ("delete", "deletecollection"):
            result.delete_options = _delete_options(request)
        result.body = await read_body(request)
    return result
