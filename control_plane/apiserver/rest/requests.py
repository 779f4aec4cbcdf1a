"""An HTTP request of a resource path as a pipeline `Request`: verb, selectors, options, body."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver import wire
from control_plane.apiserver.decode import media_type, unsupported
from control_plane.apiserver.patch.patches import PATCH_TYPES
from control_plane.apiserver.pipeline import MAX_BODY_BYTES
from control_plane.apiserver.request import ListOptions, PatchType, Request, User, WriteOptions
from control_plane.apiserver.resources import Resources
from control_plane.apiserver.rest.paths import ApiPath

_BY_METHOD: Final = {"POST": "create", "PUT": "update", "PATCH": "patch"}


def verb_of(request: web.BaseRequest, path: ApiPath) -> str:
    """The API verb. Raises ApiError 405 for other methods."""
    method = request.method
    if method in ("GET", "HEAD"):
        wants = path.watch or wire.boolean("watch", request.query.get("watch", "false"))
        if path.subresource or (path.name and not wants):
            return "get"
        return "watch" if wants else "list"
    if method == "DELETE":
        return "delete" if path.name else "deletecollection"
    verb = _BY_METHOD.get(method)
    if verb is None or (verb in ("update", "patch") and not path.name):
        raise errors.status_error(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
        )
    if verb == "create" and path.name and not path.subresource:
        raise errors.status_error(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
        )
    return verb


async def read_body(request: web.BaseRequest) -> bytes:
    """Raises ApiError 413 past 3 MiB."""
    length = request.content_length
    if length is not None and length > MAX_BODY_BYTES:
        raise errors.too_large(f"Request entity too large: limit is {MAX_BODY_BYTES}")
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
        limit=wire.integer("limit", query["limit"]) if query.get("limit") else 0,
        continue_=query.get("continue", ""),
        timeout_s=(float(wire.integer("timeoutSeconds", timeout)) or None) if timeout else None,
        allow_bookmarks=wire.boolean("allowWatchBookmarks", query.get("allowWatchBookmarks", "false")),
        send_initial_events=wire.boolean("sendInitialEvents", initial) if initial else None,
    )


def _write_options(request: web.BaseRequest) -> WriteOptions:
    query = request.query
    return WriteOptions(
        dry_run=wire.dry_run(query.getall("dryRun", [])),
        field_manager=query.get("fieldManager", ""),
        field_validation=query.get("fieldValidation", ""),
        force=wire.boolean("force", query.get("force", "false")),
    )


def _delete_options(request: web.BaseRequest) -> JsonObject:
    query = request.query
    options: JsonObject = {}
    if query.get("gracePeriodSeconds"):
        options["gracePeriodSeconds"] = wire.integer("gracePeriodSeconds", query["gracePeriodSeconds"])
    if query.get("propagationPolicy"):
        options["propagationPolicy"] = query["propagationPolicy"]
    if query.get("orphanDependents"):
        options["orphanDependents"] = wire.boolean("orphanDependents", query["orphanDependents"])
    return options


def _patch_type(content_type: str) -> PatchType:
    media = media_type(content_type)
    for kind in PatchType:
        if kind.value == media:
            return kind
    raise unsupported(PATCH_TYPES)


def not_found() -> errors.ApiError:
    return errors.status_error(404, "NotFound", "the server could not find the requested resource")


async def build(request: web.BaseRequest, path: ApiPath, resources: Resources, user: User) -> Request:
    """Raises ApiError 400, 404, 405, 413, 415, 422."""
    served = resources.get(path.group, path.version, path.resource)
    if served is None or (path.namespace and not served.kind.namespaced):
        raise not_found()
    verb = verb_of(request, path)
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
