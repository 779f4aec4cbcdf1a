"""A request's body as an object of its kind: decoded, checked, converted to the stored version, defaulted."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.objects import status as errors
from argosy.objects.status import FieldError
from argosy.objects.types import JsonObject
from control_plane.apiserver.decode import JSON, PROTOBUF, YAML, decode, unsupported
from control_plane.apiserver.request import PatchType, Request
from control_plane.apiserver.resources import Served
from control_plane.apiserver.schema.schemas import Compiled, Schemas
from control_plane.apiserver.verbs.managed import MANAGER_MAX

STRICT = "Strict"
IGNORE = "Ignore"
_MODES = ("", IGNORE, "Warn", STRICT)
_OPTION_KINDS = {"update": "UpdateOptions", "patch": "PatchOptions"}


@dataclass(frozen=True)
class Expected:
    """The kind that a path takes, which for subresources is not the resource's own."""

    group: str
    version: str
    kind: str
    also: tuple[str, ...] = ()
    """Further apiVersions of the same form that are taken."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


def expected_of(served: Served) -> Expected:
    return Expected(served.group, served.version, served.kind.kind)


def check_options(request: Request) -> None:
    """Raises ApiError 422 for options that mean nothing (apimachinery `meta/v1/validation`)."""
    write = request.write
    failures: list[FieldError] = []
    if request.patch_type is PatchType.APPLY:
        if not write.field_manager:
            failures.append(errors.required("fieldManager", "is required for apply patch"))
    elif request.verb == "patch" and write.force is not None:
        failures.append(errors.forbidden_field("force", "may not be specified for non-apply patch"))
    if len(write.field_manager.encode()) > MANAGER_MAX:
        failures.append(errors.too_long("fieldManager", MANAGER_MAX))
    for at, char in enumerate(write.field_manager):
        if not char.isprintable():
            detail = f"invalid character U+{ord(char):04X} (at position {at})"
            failures.append(errors.invalid_value("fieldManager", write.field_manager, detail))
    if write.unknown_dry_run:
        failures.append(errors.not_supported("dryRun", list(write.unknown_dry_run), ["All"]))
    if write.field_validation not in _MODES:
        failures.append(errors.not_supported("fieldValidation", write.field_validation, [IGNORE, STRICT, "Warn"]))
    if failures:
        kind = _OPTION_KINDS.get(request.verb, "CreateOptions")
        raise errors.invalid("meta.k8s.io", kind, "", failures)


def read(request: Request, schemas: Schemas, expected: Expected) -> JsonObject:
    """The body's object in the version of the path. Raises ApiError 400, 415, 422."""
    check_options(request)
    if request.served.kind.custom and request.content_type.startswith(PROTOBUF):
        raise unsupported((JSON, YAML))
    mode = request.write.field_validation
    compiled = schemas.for_kind(expected.group, expected.version, expected.kind)
    decoded = decode(request.body, request.content_type, expected=expected.kind, find_duplicates=mode != IGNORE)
    obj = decoded.obj
    agree(obj, expected)
    unknown = compiled.decoded(obj)
    report(request, compiled, [*unknown, *decoded.duplicates])
    if not isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {}
    return obj


def agree(obj: JsonObject, expected: Expected) -> None:
    """apiVersion and kind may be left out, but not be another's. Raises ApiError 400."""
    given_version, given_kind = obj.get("apiVersion") or "", obj.get("kind") or ""
    if given_version in expected.also:
        given_version = expected.api_version
    if (given_version not in ("", expected.api_version)) or (given_kind not in ("", expected.kind)):
        raise errors.bad_request(
            f"{given_kind or expected.kind} in version {given_version or expected.version} cannot be handled as a "
            f"{expected.kind}: the API version in the data ({given_version}) does not match the expected API version "
            f"({expected.api_version})"
            if given_version != expected.api_version
            else f"the kind in the data ({given_kind}) does not match the expected kind ({expected.kind})"
        )
    obj["apiVersion"] = expected.api_version
    obj["kind"] = expected.kind


def check_namespace(request: Request, obj: JsonObject) -> None:
    """The path's namespace is the object's; one that cluster scope has no use for is dropped. Raises ApiError 400."""
    data = obj["metadata"]
    given = data.get("namespace") or ""
    if given and request.served.kind.namespaced and given != request.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if request.served.kind.namespaced:
        data["namespace"] = request.namespace
    else:
        data.pop("namespace", None)


def report(request: Request, compiled: Compiled, problems: list[str]) -> None:
    """Unknown and duplicate fields, as fieldValidation asks. Raises ApiError 400 when strict."""
    mode = request.write.field_validation
    if not problems or mode == IGNORE:
        return
    if mode == STRICT:
        raise compiled.strict_error(problems)
    for problem in problems:
        request.warn(problem)
