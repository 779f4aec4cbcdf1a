"""Eviction: a deletion that PodDisruptionBudgets may refuse (pkg/registry/core/pod/storage/eviction.go)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import orjson

from argosy.host import rfc3339
from argosy.objects import conditions, meta, selectors
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.request import Answer, Request, WriteOptions
from control_plane.apiserver.verbs import body
from control_plane.apiserver.verbs.context import Context
from control_plane.apiserver.verbs.delete import DeleteOptions, delete_object, parse_options
from control_plane.apiserver.verbs.update import guaranteed

MAX_DISRUPTED: Final = 2000
EXPECTED: Final = body.Expected("policy", "v1", "Eviction", also=("policy/v1beta1",))
"""Clients of old send v1beta1, which upstream takes here to this day."""


async def evict(context: Context, request: Request) -> Answer:
    """POST pods/NAME/eviction. Raises ApiError, 429 when a budget does not allow it now."""
    eviction = body.read(request, context.schemas, EXPECTED)
    name = eviction["metadata"].get("name") or request.name
    if name != request.name:
        raise errors.bad_request("name in URL does not match name in Eviction object")
    await context.admission.admit(Attributes(Operation.CREATE, request, eviction, None))
    options = eviction.get("deleteOptions") or {}
    deletion = replace(request, verb="delete", subresource="", body=b"", delete_options=options)
    parsed = parse_options(deletion)
    pod = (await context.newest(request)).obj
    if not _free(pod):
        budget = _budget(context, pod, request)
        if budget is not None and not parsed.dry_run:
            await _spend(context, request, budget, pod)
    if not parsed.dry_run:
        parsed = await _mark(context, request, parsed)
    await delete_object(context, deletion, parsed, admit=False)
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return Answer(status, orjson.dumps(status), 201)


async def _mark(context: Context, request: Request, options: DeleteOptions) -> DeleteOptions:
    """Say on the pod why it goes, for whoever judges its end (KEP-3329); gives the options to delete it with now."""
    writing = replace(
        request, verb="update", subresource="status", body=b"", write=WriteOptions(field_manager="eviction")
    )
    now = rfc3339(context.host.clock.now())
    marked = conditions.make("DisruptionTarget", True, now, "EvictionByEvictionAPI", "Eviction API: evicting")

    async def build(old: Entry) -> JsonObject:
        # Another pod than was meant is left for the deletion to refuse.
        if options.uid not in ("", meta.uid(old.obj)):
            return old.obj
        if options.resource_version not in ("", str(old.revision)):
            return old.obj
        new = meta.copy_object(old.obj)
        listed = meta.status(new).get("conditions") or ()
        new["status"] = {**meta.status(new), "conditions": conditions.with_condition(listed, marked)}
        return new

    entry = await guaranteed(context, writing, build)
    if options.resource_version and conditions.is_true(entry.obj, "DisruptionTarget"):
        return replace(options, resource_version=str(entry.revision))
    return options


def _free(pod: JsonObject) -> bool:
    """Pods that serve nobody, or are going already, need no budget."""
    return meta.status(pod).get("phase") in ("Succeeded", "Failed", "Pending") or meta.is_deleting(pod)


def _budget(context: Context, pod: JsonObject, request: Request) -> Entry | None:
    served = context.resources.stored("policy", "poddisruptionbudgets")
    if served is None:
        return None
    found = [
        entry
        for entry in served.cache.select(request.namespace)
        if selectors.from_object(meta.spec(entry.obj).get("selector")).matches(meta.labels(pod))
        and meta.spec(entry.obj).get("selector") is not None
    ]
    if len(found) > 1:
        raise errors.internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    if not found:
        return None
    budget = found[0].obj
    if not conditions.is_true(pod, "Ready"):
        if meta.spec(budget).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
            return None
        status = meta.status(budget)
        if int(status.get("currentHealthy") or 0) >= int(status.get("desiredHealthy") or 0) > 0:
            return None
    return found[0]


async def _spend(context: Context, request: Request, budget: Entry, pod: JsonObject) -> None:
    """Take one disruption from the budget, so that two evictions at once do not share it."""
    served = context.resources.require("policy", "poddisruptionbudgets")
    spending = replace(
        request,
        served=served,
        verb="update",
        name=meta.name(budget.obj),
        subresource="status",
        write=WriteOptions(field_manager="eviction"),
    )

    async def build(old: Entry) -> JsonObject:
        status = meta.status(old.obj)
        name = meta.name(old.obj)
        if int(status.get("observedGeneration") or 0) < meta.generation(old.obj):
            raise _too_many(name, f"The disruption budget {name} is still being processed by the server.", 10)
        allowed = int(status.get("disruptionsAllowed") or 0)
        disrupted = dict(status.get("disruptedPods") or {})
        if allowed < 0 or len(disrupted) > MAX_DISRUPTED:
            detail = "pdb disruptions allowed is negative" if allowed < 0 else "DisruptedPods map too big"
            raise errors.forbidden("policy", "poddisruptionbudgets", name, detail)
        if allowed == 0:
            needed, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
            detail = f"The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
            raise _too_many(name, detail, 0)
        disrupted[meta.name(pod)] = rfc3339(context.host.clock.now())
        new = meta.copy_object(old.obj)
        new["status"] = {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}
        return new

    await guaranteed(context, spending, build)


def _too_many(name: str, detail: str, retry_after_s: int) -> errors.ApiError:
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    causes = [{"reason": "DisruptionBudget", "message": detail}]
    status = errors.too_many_requests(message, retry_after_s, {"causes": causes}).status
    if not retry_after_s:
        status["details"].pop("retryAfterSeconds", None)
    return errors.ApiError(status)
