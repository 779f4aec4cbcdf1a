"""Binding: the scheduler's decision, written to the pod once and for good (pkg/registry/core/pod/storage)."""

from __future__ import annotations

from dataclasses import replace

import orjson

from argosy.host import rfc3339
from argosy.objects import conditions, meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.request import Answer, Request
from control_plane.apiserver.resources import Resources
from control_plane.apiserver.verbs import body
from control_plane.apiserver.verbs.context import Context
from control_plane.apiserver.verbs.update import check_preconditions, guaranteed

EXPECTED = body.Expected("", "v1", "Binding")


async def bind(context: Context, request: Request) -> Answer:
    """POST pods/NAME/binding. Raises ApiError."""
    binding = body.read(request, context.schemas, EXPECTED)
    name = binding["metadata"].get("name") or request.name
    if name != request.name:
        raise errors.bad_request("name in URL does not match name in Binding object")
    target = binding.get("target") or {}
    if target.get("kind") not in (None, "", "Node"):
        failure = errors.not_supported("target.kind", target["kind"], ["Node", "<empty>"])
        raise errors.invalid("", "Binding", name, [failure])
    if not target.get("name"):
        raise errors.invalid("", "Binding", name, [errors.required("target.name")])
    await context.admission.admit(Attributes(Operation.CREATE, request, binding, None))
    await guaranteed(context, request, lambda old: _bound(context, request, binding, old))
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return Answer(status, orjson.dumps(status), 201)


async def _bound(context: Context, request: Request, binding: JsonObject, old: Entry) -> JsonObject:
    check_preconditions(request, binding, old)
    pod, name = old.obj, request.name
    node = binding["target"]["name"]
    if meta.is_deleting(pod):
        raise errors.conflict("", "pods", name, f"pod {name} is being deleted, cannot be assigned to a host")
    bound = meta.spec(pod).get("nodeName")
    if bound:
        raise errors.conflict("", "pods/binding", name, f'pod {name} is already assigned to node "{bound}"')
    if meta.spec(pod).get("schedulingGates"):
        raise errors.conflict("", "pods", name, f"pod {name} has non-empty .spec.schedulingGates")
    new = meta.copy_object(pod)
    new["spec"]["nodeName"] = node
    annotations = meta.annotations(binding)
    if annotations:
        new["metadata"]["annotations"] = {**meta.annotations(pod), **annotations}
    now = rfc3339(context.host.clock.now())
    status = new.setdefault("status", {})
    scheduled = conditions.make("PodScheduled", True, now)
    scheduled["lastProbeTime"] = None
    status["conditions"] = conditions.with_condition(status.get("conditions") or (), scheduled)
    # It is where it is now; where it was to be has no meaning any more (KEP-5278).
    status.pop("nominatedNodeName", None)
    return new


class Bindings:
    """POST namespaces/NS/bindings: the older way to say the same."""

    def __init__(self, context: Context, resources: Resources) -> None:
        self._context = context
        self._pods = resources.require("", "pods")

    async def create(self, request: Request, binding: JsonObject) -> JsonObject:
        """Raises ApiError."""
        name = binding["metadata"].get("name") or ""
        if not name:
            raise errors.bad_request("the name of the pod is missing")
        inner = replace(request, served=self._pods, name=name, subresource="binding")
        return (await bind(self._context, inner)).obj
