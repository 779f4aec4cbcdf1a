"""A request's body as an object of its kind: decoded, checked, converted to the stored version, defaulted."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.objects import status as errors
from argosy.objects.types import JsonObject
from control_plane.apiserver.decode import decode
from control_plane.apiserver.request import Request
from control_plane.apiserver.resources import Served
from control_plane.apiserver.schema.schemas import Compiled, Schemas
from control_plane.apiserver.verbs.managed import MANAGER_MAX

STRICT = "Strict"
IGNORE = "Ignore"
_MODES = ("", IGNORE, "Warn", STRICT)


@dataclass(frozen=True)
class Expected:
    """The kind that a path takes, which for subresources is not the resource's own."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


def expected_of(served: Served) -> Expected:
    return Expected(served.group, served.version, served.kind.kind)


def check_options(request: Request) -> None:
    """Raises ApiError 422 for options that mean nothing."""
    write = request.write
    if write.field_validation not in _MODES:
        failure = errors.not_supported("fieldValidation", write.field_validation, [IGNORE, STRICT, "Warn"])
        raise errors.invalid("meta.k8s.io", "CreateOptions", "", [failure])
    if len(write.field_manager) > MANAGER_MAX:
        failure = errors.too_long("fieldManager", MANAGER_MAX)
        raise errors.invalid("meta.k8s.io", "CreateOptions", "", [failure])


def read(request: Request, schemas: Schemas, expected: Expected) -> JsonObject:
    """The body's object in the version of the path. Raises ApiError 400, 415, 422."""
    check_options(request)
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


def report(request: Request, compiled: Compiled, problems: list[str]) -> None:
    """Unknown and duplicate fields, as fieldValidation asks. Raises ApiError 400 when strict."""
    mode = request.write.field_validation
    if not problems or mode == IGNORE:
        return
    if mode == STRICT:
        raise compiled.strict_error(problems)
    for problem in problems:
        request.warn(problem)
