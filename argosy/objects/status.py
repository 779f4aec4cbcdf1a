"""API errors, as the Status object that Kubernetes clients understand.

Every process raises and catches `ApiError`: the API server renders it to the wire, clients parse it back.
Codes, reasons and message forms follow k8s.io/apimachinery `pkg/api/errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from argosy.objects.types import JsonObject


class CauseType(StrEnum):
    """`status.details.causes[].reason` of a validation failure."""

    REQUIRED = "FieldValueRequired"
    INVALID = "FieldValueInvalid"
    DUPLICATE = "FieldValueDuplicate"
    NOT_SUPPORTED = "FieldValueNotSupported"
    FORBIDDEN = "FieldValueForbidden"
    NOT_FOUND = "FieldValueNotFound"
    TOO_LONG = "FieldValueTooLong"
    TOO_MANY = "FieldValueTooMany"
    TYPE_INVALID = "FieldValueTypeInvalid"


@dataclass(frozen=True)
class FieldError:
    """One failed rule: `field` is a path such as `spec.containers[0].name`, `message` the whole text after it."""

    cause: CauseType
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def _shown(value: object) -> str:
    """A value as upstream prints it inside a message: strings quoted, JSON otherwise."""
    import json

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def required(field: str, detail: str = "") -> FieldError:
    return FieldError(CauseType.REQUIRED, field, "Required value" + (f": {detail}" if detail else ""))


def invalid_value(field: str, value: object, detail: str) -> FieldError:
    return FieldError(CauseType.INVALID, field, f"Invalid value: {_shown(value)}: {detail}")


def duplicate(field: str, value: object) -> FieldError:
    return FieldError(CauseType.DUPLICATE, field, f"Duplicate value: {_shown(value)}")


def not_supported(field: str, value: object, supported: Sequence[str]) -> FieldError:
    values = ", ".join(_shown(item) for item in supported)
    return FieldError(
        CauseType.NOT_SUPPORTED, field, f"Unsupported value: {_shown(value)}: supported values: {values}"
    )


def forbidden_field(field: str, detail: str) -> FieldError:
    return FieldError(CauseType.FORBIDDEN, field, f"Forbidden: {detail}")


def field_not_found(field: str, value: object) -> FieldError:
    return FieldError(CauseType.NOT_FOUND, field, f"Not found: {_shown(value)}")


def too_long(field: str, maximum: int) -> FieldError:
    return FieldError(CauseType.TOO_LONG, field, f"Too long: may not be more than {maximum} bytes")


def too_many(field: str, actual: int, maximum: int) -> FieldError:
    return FieldError(CauseType.TOO_MANY, field, f"Too many: {actual}: must have at most {maximum} items")


def type_invalid(field: str, value: object, detail: str) -> FieldError:
    return FieldError(CauseType.TYPE_INVALID, field, f"Invalid value: {_shown(value)}: {detail}")


class ApiError(Exception):
    """A failed API call; `status` is the meta/v1 Status body, `code` its HTTP code, `reason` its reason."""

    def __init__(self, status: JsonObject) -> None:
        super().__init__(str(status.get("message", "")))
        self.status = status

    @property
    def code(self) -> int:
        return int(self.status.get("code", 500))

    @property
    def reason(self) -> str:
        return str(self.status.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.status.get("message", ""))


def status_error(code: int, reason: str, message: str, details: JsonObject | None = None) -> ApiError:
    status: JsonObject = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if details:
        status["details"] = details
    return ApiError(status)


def _qualified(group: str, resource: str) -> str:
    return f"{resource}.{group}" if group else resource


def _details(group: str, resource: str, name: str) -> JsonObject:
    details: JsonObject = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if resource:
        details["kind"] = resource
    return details


def not_found(group: str, resource: str, name: str) -> ApiError:
    message = f'{_qualified(group, resource)} "{name}" not found'
    return status_error(404, "NotFound", message, _details(group, resource, name))


def already_exists(group: str, resource: str, name: str) -> ApiError:
    message = f'{_qualified(group, resource)} "{name}" already exists'
    return status_error(409, "AlreadyExists", message, _details(group, resource, name))


def conflict(group: str, resource: str, name: str, detail: str = "") -> ApiError:
    detail = detail or ("the object has been modified; please apply your changes to the latest version and try again")
    message = f'Operation cannot be fulfilled on {_qualified(group, resource)} "{name}": {detail}'
    return status_error(409, "Conflict", message, _details(group, resource, name))


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> ApiError:
    texts = [str(error) for error in errors]
    shown = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = _details(group, kind, name)
    details["causes"] = [
        {"reason": error.cause.value, "message": error.message, "field": error.field} for error in errors
    ]
    qualified = f"{kind}.{group}" if group else kind
    return status_error(422, "Invalid", f'{qualified} "{name}" is invalid: {shown}', details)


def bad_request(message: str) -> ApiError:
    return status_error(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return status_error(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, resource: str, name: str, detail: str) -> ApiError:
    message = f'{_qualified(group, resource)} "{name}" is forbidden: {detail}'
    if not name:
        message = f"{_qualified(group, resource)} is forbidden: {detail}"
    return status_error(403, "Forbidden", message, _details(group, resource, name))


def expired(message: str) -> ApiError:
    return status_error(410, "Expired", message)


def too_large(message: str) -> ApiError:
    return status_error(413, "RequestEntityTooLarge", message)


def too_many_requests(message: str, retry_after_s: int, details: JsonObject | None = None) -> ApiError:
    return status_error(429, "TooManyRequests", message, {**(details or {}), "retryAfterSeconds": retry_after_s})


def internal(message: str) -> ApiError:
    return status_error(500, "InternalError", f"Internal error occurred: {message}")


def unavailable(message: str) -> ApiError:
    return status_error(503, "ServiceUnavailable", message)


def timeout(message: str, retry_after_s: int = 1) -> ApiError:
    return status_error(504, "Timeout", message, {"retryAfterSeconds": retry_after_s})
