"""The scale subresource: replicas of any workload through one small kind (autoscaling/v1 Scale)."""

from __future__ import annotations

import orjson

from argosy.objects import meta, selectors
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.patch.patches import parse_patch
from control_plane.apiserver.request import Answer, Request
from control_plane.apiserver.verbs import body
from control_plane.apiserver.verbs.context import Context
from control_plane.apiserver.verbs.patch import patched_object
from control_plane.apiserver.verbs.update import check_identity, check_preconditions, finish, guaranteed

EXPECTED = body.Expected("autoscaling", "v1", "Scale")


async def scale(context: Context, request: Request) -> Answer:
    """get, update, patch. Raises ApiError."""
    if request.verb == "get":
        return _answer(scale_of(await context.newest(request)))
    if request.verb == "update":
        sent = body.read(request, context.schemas, EXPECTED)
        check_identity(request, sent)
        entry = await guaranteed(context, request, lambda old: _scaled(context, request, sent, old))
    else:
        compiled = context.schemas.for_kind("autoscaling", "v1", "Scale")
        assert request.patch_type is not None
        parsed = parse_patch(request.patch_type.value, request.body, compiled)

        async def build(old: Entry) -> JsonObject:
            patched = patched_object(request, parsed, compiled, scale_of(old))
            check_identity(request, patched)
            return await _scaled(context, request, patched, old)

        entry = await guaranteed(context, request, build)
    return _answer(scale_of(entry))


async def _scaled(context: Context, request: Request, sent: JsonObject, old: Entry) -> JsonObject:
    check_preconditions(request, sent, old)
    replicas = (sent.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        failure = errors.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid("autoscaling", "Scale", request.name, [failure])
    new = meta.copy_object(old.obj)
    new["spec"] = {**meta.spec(new), "replicas": replicas}
    return await finish(context, request, new, old)


def scale_of(entry: Entry) -> JsonObject:
    obj = entry.obj
    data = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    selector = meta.spec(obj).get("selector")
    if isinstance(selector, dict) and obj["kind"] == "ReplicationController":
        text = str(selectors.from_labels(selector))
    else:
        text = str(selectors.from_object(selector)) if selector else ""
    status: JsonObject = {"replicas": int(meta.status(obj).get("replicas") or 0)}
    if text:
        status["selector"] = text
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: data[key] for key in kept if key in data},
        "spec": {"replicas": int(meta.spec(obj).get("replicas") or 0)},
        "status": status,
    }


def _answer(obj: JsonObject) -> Answer:
    return Answer(obj, orjson.dumps(obj))
