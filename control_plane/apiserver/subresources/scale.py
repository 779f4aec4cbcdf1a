"""The scale subresource: replicas of any workload through one small kind (autoscaling/v1 Scale).

Built-in kinds have their replicas where upstream has them, custom ones where their definition says. Server-side apply
of a Scale owns the parent's replicas, in its managedFields (apimachinery `pkg/util/managedfields/scalehandler.go`).
"""

from __future__ import annotations

from typing import Any

import orjson

from argosy.kinds.kind import Kind
from argosy.objects import meta, selectors
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.managed_fields_apply import check_configuration
from control_plane.apiserver.patch.patches import parse_patch
from control_plane.apiserver.request import Answer, PatchType, Request
from control_plane.apiserver.verbs import apply, body
from control_plane.apiserver.verbs.context import Context, view
from control_plane.apiserver.verbs.patch import patched_object
from control_plane.apiserver.verbs.update import check_identity, check_preconditions, finish, guaranteed

EXPECTED = body.Expected("autoscaling", "v1", "Scale")
SPEC_REPLICAS = ("spec", "replicas")
STATUS_REPLICAS = ("status", "replicas")


async def scale(context: Context, request: Request) -> Answer:
    """get, update, patch, apply. Raises ApiError."""
    kind = request.served.kind
    if request.verb == "get":
        return _answer(scale_of(await view(request.served, await context.newest(request)), kind))
    if request.verb == "update":
        sent = body.read(request, context.schemas, EXPECTED)
        check_identity(request, sent)
        entry = await guaranteed(context, request, lambda old: _scaled(context, request, sent, old))
    elif request.patch_type is PatchType.APPLY:
        body.check_options(request)
        applied = apply.configuration(request, EXPECTED.kind)
        check_configuration(applied, context.schemas.for_kind("autoscaling", "v1", "Scale"))
        entry = await guaranteed(context, request, lambda old: _applied(context, request, applied, old))
    else:
        body.check_options(request)
        compiled = context.schemas.for_kind("autoscaling", "v1", "Scale")
        assert request.patch_type is not None
        parsed = parse_patch(request.patch_type.value, request.body, compiled)

        async def build(old: Entry) -> JsonObject:
            patched = patched_object(request, parsed, compiled, scale_of(old, kind))
            check_identity(request, patched)
            return await _scaled(context, request, patched, old)

        entry = await guaranteed(context, request, build)
    return _answer(scale_of(await view(request.served, entry), kind))


async def _scaled(context: Context, request: Request, sent: JsonObject, old: Entry) -> JsonObject:
    check_preconditions(request, sent, old)
    replicas = (sent.get("spec") or {}).get("replicas", 0)
    _check_replicas(request, replicas)
    new = meta.copy_object(old.obj)
    _set(new, _paths(request.served.kind)[0], replicas)
    return await finish(context, request, new, old)


async def _applied(context: Context, request: Request, applied: JsonObject, old: Entry) -> JsonObject:
    """The configuration of a Scale as one of its parent, of which it owns the replicas."""
    check_preconditions(request, applied, old)
    served = request.served
    compiled = context.schemas.for_kind(served.group, served.version, served.kind.kind)
    wanted: JsonObject = {
        "apiVersion": compiled.api_version,
        "kind": compiled.kind,
        "metadata": {"name": request.name},
    }
    replicas = (applied.get("spec") or {}).get("replicas")
    if replicas is not None:
        _check_replicas(request, replicas)
        _set(wanted, _paths(served.kind)[0], replicas)
    present, _ = old.form(served.convert, served.api_version)
    made = apply.laid_over(context, request, present, wanted, compiled)
    return await finish(context, request, served.to_storage(made), old, record=False)


def _check_replicas(request: Request, replicas: int) -> None:
    if replicas < 0:
        failure = errors.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid("autoscaling", "Scale", request.name, [failure])


def _paths(kind: Kind) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Where replicas as asked for, as they are, and the selector's text are; no path for a selector of labels."""
    if not kind.custom:
        return SPEC_REPLICAS, STATUS_REPLICAS, ()
    spec, status, selector = (tuple(path.removeprefix(".").split(".")) if path else () for path in kind.scale_paths)
    return spec, status, selector


def set_replicas(obj: JsonObject, kind: Kind, replicas: int) -> None:
    """Of a workload, in place."""
    _set(obj, _paths(kind)[0], replicas)


def _set(obj: JsonObject, path: tuple[str, ...], value: int) -> None:
    here = obj
    for name in path[:-1]:
        below = here.get(name)
        if not isinstance(below, dict):
            below = here[name] = {}
        here = below
    here[path[-1]] = value


def _get(obj: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(name)
    return obj if path else None


def scale_of(entry: Entry, kind: Kind) -> JsonObject:
    obj = entry.obj
    data = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    in_spec, in_status, in_selector = _paths(kind)
    status: JsonObject = {"replicas": _number(_get(obj, in_status))}
    text = _selector(obj, kind, in_selector)
    if text:
        status["selector"] = text
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: data[key] for key in kept if key in data},
        "spec": {"replicas": _number(_get(obj, in_spec))},
        "status": status,
    }


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _selector(obj: JsonObject, kind: Kind, path: tuple[str, ...]) -> str:
    if kind.custom:
        text = _get(obj, path)
        return text if isinstance(text, str) else ""
    selector = meta.spec(obj).get("selector")
    if isinstance(selector, dict) and kind.kind == "ReplicationController":
        return str(selectors.from_labels(selector))
    return str(selectors.from_object(selector)) if selector else ""


def _answer(obj: JsonObject) -> Answer:
    return Answer(obj, orjson.dumps(obj))
