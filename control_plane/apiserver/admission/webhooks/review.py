"""AdmissionReview: what a webhook is sent, and what its answer says. Pure.

Shapes and messages: k8s.io/api `admission/v1`, k8s.io/apiserver `pkg/admission/plugin/webhook/{request,errors}`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from argosy.kinds.webhook_configuration import REVIEW_VERSIONS
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation
from control_plane.apiserver.request import User
from control_plane.apiserver.resources import Served

MAX_WARNINGS: Final = 100
_OPTIONS: Final = {
    Operation.CREATE: "CreateOptions",
    Operation.UPDATE: "UpdateOptions",
    Operation.DELETE: "DeleteOptions",
}


class BadResponse(Exception):
    """An answer that cannot be used; the text says why."""


@dataclass(frozen=True)
class Response:
    allowed: bool
    result: JsonObject
    warnings: Sequence[str] = ()
    patch: list[JsonObject] = field(default_factory=list)
    has_patch: bool = False


def version_of(hook: JsonObject) -> str:
    """The first version of AdmissionReview that the webhook and we speak."""
    return next(str(item) for item in hook.get("admissionReviewVersions") or () if item in REVIEW_VERSIONS)


def review(
    attributes: Attributes, served: Served, obj: JsonObject | None, old: JsonObject | None, uid: str, version: str
) -> JsonObject:
    """The body of a request to a webhook that wants the resource as `served`."""
    asked = attributes.request.served
    request: JsonObject = {
        "uid": uid,
        "kind": _kind(served, obj, old),
        "resource": _resource(served),
        "requestKind": _kind(asked, obj, old),
        "requestResource": _resource(asked),
        "namespace": attributes.namespace,
        "operation": attributes.operation.value,
        "userInfo": _user(attributes.user),
        "object": obj,
        "oldObject": old,
        "dryRun": attributes.is_dry_run,
        "options": _options(attributes),
    }
    name = attributes.request.name or meta.name(obj or old or {})
    if name:
        request["name"] = name
    if attributes.subresource:
        request["subResource"] = request["requestSubResource"] = attributes.subresource
    return {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": request}


def _kind(served: Served, obj: JsonObject | None, old: JsonObject | None) -> JsonObject:
    """A subresource's object may be of a kind of its own."""
    shown = obj or old or {}
    kind = str(shown.get("kind") or served.kind.kind)
    if kind == served.kind.kind:
        return {"group": served.group, "version": served.version, "kind": kind}
    group, _, version = str(shown.get("apiVersion") or "v1").rpartition("/")
    return {"group": group, "version": version, "kind": kind}


def _resource(served: Served) -> JsonObject:
    return {"group": served.group, "version": served.version, "resource": served.plural}


def _user(user: User) -> JsonObject:
    info: JsonObject = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


def _options(attributes: Attributes) -> JsonObject | None:
    kind = _OPTIONS.get(attributes.operation)
    if kind is None:
        return None
    request = attributes.request
    if request.verb == "patch" and kind == "UpdateOptions":
        kind = "PatchOptions"
    options: JsonObject = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if kind == "DeleteOptions":
        options |= {key: value for key, value in (request.delete_options or {}).items() if key != "kind"}
        options["apiVersion"] = "meta.k8s.io/v1"
    elif request.write.field_manager:
        options["fieldManager"] = request.write.field_manager
    if request.write.field_validation and kind != "DeleteOptions":
        options["fieldValidation"] = request.write.field_validation
    if attributes.is_dry_run:
        options["dryRun"] = ["All"]
    return options


def response_of(answer: JsonObject, uid: str, version: str, *, mutating: bool) -> Response:
    """What an answer says. Raises BadResponse."""
    response = answer.get("response")
    if not isinstance(response, dict):
        raise BadResponse("webhook response was absent")
    if version == "v1":
        if response.get("uid") != uid:
            raise BadResponse(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
        group, _, found = str(answer.get("apiVersion") or "").rpartition("/")
        shown = f"{group}/{found}, Kind={answer.get('kind') or ''}"
        if shown != "admission.k8s.io/v1, Kind=AdmissionReview":
            raise BadResponse(f"expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {shown}")
    if not isinstance(response.get("allowed", False), bool):
        raise BadResponse("response.allowed is no boolean")
    result = response.get("status")
    if result is not None and not isinstance(result, dict):
        raise BadResponse("response.status is no object")
    warnings = response.get("warnings") or []
    if not isinstance(warnings, list) or not all(isinstance(text, str) for text in warnings):
        raise BadResponse("response.warnings is no list of strings")
    allowed = bool(response.get("allowed", False))
    patch, has_patch = _patch(response, version, mutating=mutating)
    return Response(allowed, result or {}, warnings[:MAX_WARNINGS], patch, has_patch)


def _patch(response: JsonObject, version: str, *, mutating: bool) -> tuple[list[JsonObject], bool]:
    from control_plane.apiserver.patch import json_patch

    text, kind = response.get("patch"), response.get("patchType")
    if not mutating:
        if version == "v1" and (text or kind):
            raise BadResponse("webhook response.patch or response.patchType is set, but it only validates")
        return [], False
    if version == "v1":
        if text and not kind:
            raise BadResponse("webhook returned response.patch but not response.patchType")
        if kind and not text:
            raise BadResponse("webhook returned response.patchType but not response.patch")
    if not text:
        return [], False
    if kind not in (None, "JSONPatch"):
        raise BadResponse(f'invalid value of response.patchType "{kind}", must be JSONPatch')
    try:
        decoded: Any = orjson.loads(base64.b64decode(str(text), validate=True))
        return json_patch.parse(decoded), True
    except (binascii.Error, orjson.JSONDecodeError) as error:
        raise BadResponse(f"received undecodable patch in webhook response: {error}") from None
    except ApiError as error:
        raise BadResponse(f"received undecodable patch in webhook response: {error.message}") from None


def denial(name: str, result: JsonObject) -> ApiError:
    """The error of a request that a webhook refused."""
    code, said = result.get("code"), result.get("message")
    reason = result.get("reason") if isinstance(result.get("reason"), str) else ""
    denied = f'admission webhook "{name}" denied the request'
    if isinstance(said, str) and said:
        message = f"{denied}: {said}"
    elif reason:
        message = f"{denied}: {reason}"
    else:
        message = f"{denied} without explanation"
    details = result.get("details") if isinstance(result.get("details"), dict) else None
    number = code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599 else 400
    error = errors.status_error(number, reason or "", message, details)
    if not reason:
        error.status.pop("reason")
    return error
