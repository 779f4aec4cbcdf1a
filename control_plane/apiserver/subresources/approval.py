"""The parts of an object that only a subresource may write: CSR approval, finalizers, debug containers, resources."""

from __future__ import annotations

from collections.abc import Callable

from argosy.host import rfc3339
from argosy.kinds import pod_resize
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.cache.entry import Entry
from control_plane.apiserver.patch.patches import parse_patch
from control_plane.apiserver.request import Answer, PatchType, Request
from control_plane.apiserver.verbs import apply, body
from control_plane.apiserver.verbs.context import Context, answer
from control_plane.apiserver.verbs.patch import patched_object
from control_plane.apiserver.verbs.update import check_identity, check_preconditions, finish, guaranteed

Merge = Callable[[Context, JsonObject, JsonObject], JsonObject]
"""(context, sent, old) to the new object, with the allowed part of what was sent."""


async def _changed(context: Context, request: Request, merge: Merge) -> Answer:
    """get, update, patch or apply of an object of which `merge` takes the allowed part."""
    served = request.served
    if request.verb == "get":
        return answer(served, await context.newest(request))
    if request.verb == "update":
        given = body.read(request, context.schemas, body.expected_of(served))
        check_identity(request, given)
        sent = served.to_storage(given)

        async def replaced(old: Entry) -> JsonObject:
            check_preconditions(request, sent, old)
            return await finish(context, request, merge(context, sent, old.obj), old)

        return answer(served, await guaranteed(context, request, replaced))
    body.check_options(request)
    assert request.patch_type is not None
    compiled = context.schemas.for_kind(served.group, served.version, served.kind.kind)
    if request.patch_type is PatchType.APPLY:
        wanted = apply.configuration(request, served.kind.kind)

        async def applied(old: Entry) -> JsonObject:
            check_preconditions(request, wanted, old)
            present, _ = old.form(served.convert, served.api_version)
            made = served.to_storage(apply.laid_over(context, request, present, wanted, compiled))
            new = merge(context, made, old.obj)
            new["metadata"]["managedFields"] = made["metadata"].get("managedFields") or []
            return await finish(context, request, new, old, record=False)

        return answer(served, await guaranteed(context, request, applied))
    parsed = parse_patch(request.patch_type.value, request.body, compiled)

    async def patched(old: Entry) -> JsonObject:
        present, _ = old.form(served.convert, served.api_version)
        new = served.to_storage(patched_object(request, parsed, compiled, present))
        check_preconditions(request, new, old)
        return await finish(context, request, merge(context, new, old.obj), old)

    return answer(served, await guaranteed(context, request, patched))


def _approved(context: Context, sent: JsonObject, old: JsonObject) -> JsonObject:
    """Conditions Approved and Denied come here only, and cannot be both or be taken back."""
    new = meta.copy_object(old)
    given = meta.status(sent).get("conditions") or []
    before = {item.get("type") for item in meta.status(old).get("conditions") or ()}
    after = {item.get("type") for item in given}
    name = meta.name(old)
    if {"Approved", "Denied"} <= after:
        failure = errors.invalid_value(
            "status.conditions", "Denied", "Approved and Denied conditions are mutually exclusive"
        )
        raise errors.invalid("certificates.k8s.io", "CertificateSigningRequest", name, [failure])
    lost = sorted(str(kind) for kind in before - after if kind in ("Approved", "Denied", "Failed"))
    if lost:
        failure = errors.forbidden_field(
            "status.conditions", f"updates may not remove a condition of type {lost[0]!r}"
        )
        raise errors.invalid("certificates.k8s.io", "CertificateSigningRequest", name, [failure])
    now = rfc3339(context.host.clock.now())
    stamped = []
    for item in given:
        stamp = {**item}
        stamp.setdefault("lastUpdateTime", now)
        stamp.setdefault("lastTransitionTime", now)
        stamped.append(stamp)
    new["status"] = {**meta.status(old), "conditions": stamped}
    return new


def _finalized(context: Context, sent: JsonObject, old: JsonObject) -> JsonObject:
    """spec.finalizers of a namespace."""
    new = meta.copy_object(old)
    new["spec"] = {**meta.spec(old), "finalizers": list(meta.spec(sent).get("finalizers") or ())}
    if not new["spec"]["finalizers"]:
        del new["spec"]["finalizers"]
    return new


def _with_ephemeral(context: Context, sent: JsonObject, old: JsonObject) -> JsonObject:
    """Debug containers may be added to a pod, never changed or removed."""
    new = meta.copy_object(old)
    given = meta.spec(sent).get("ephemeralContainers") or []
    present = meta.spec(old).get("ephemeralContainers") or []
    by_name = {item.get("name"): item for item in given}
    for item in present:
        if item.get("name") not in by_name:
            detail = f'existing ephemeral containers "{item.get("name")}" may not be removed\n'
            failure = errors.forbidden_field("spec.ephemeralContainers", detail)
            raise errors.invalid("", "Pod", meta.name(old), [failure])
        if by_name[item.get("name")] != item:
            detail = f'existing ephemeral containers "{item.get("name")}" may not be changed\n'
            failure = errors.forbidden_field("spec.ephemeralContainers", detail)
            raise errors.invalid("", "Pod", meta.name(old), [failure])
    new["spec"]["ephemeralContainers"] = meta.copy(given)
    return new


def _resized(context: Context, sent: JsonObject, old: JsonObject) -> JsonObject:
    """Resources of a pod's containers; which changes are allowed is the kind's `validate_subresources`."""
    return pod_resize.resized(sent, old)


async def approval(context: Context, request: Request) -> Answer:
    """certificatesigningrequests/approval. Raises ApiError."""
    return await _changed(context, request, _approved)


async def finalize(context: Context, request: Request) -> Answer:
    """namespaces/finalize. Raises ApiError."""
    return await _changed(context, request, _finalized)


async def ephemeral_containers(context: Context, request: Request) -> Answer:
    """pods/ephemeralcontainers. Raises ApiError."""
    return await _changed(context, request, _with_ephemeral)


async def resize(context: Context, request: Request) -> Answer:
    """pods/resize. Raises ApiError."""
    return await _changed(context, request, _resized)
