"""Rules for probes and lifecycle hooks (pkg/apis/core/validation)."""

from __future__ import annotations

from argosy.objects import names
from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def validate_port_or_name(port: object, path: str) -> list[FieldError]:
    if isinstance(port, str):
        return [invalid_value(path, port, text) for text in names.check_port_name(port)]
    number = 0 if port is None else port
    return [invalid_value(path, number, text) for text in names.check_port(number)]


def _validate_http(action: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not action.get("path"):
        errors.append(required(f"{path}.path"))
    errors += validate_port_or_name(action.get("port"), f"{path}.port")
    scheme = action.get("scheme", "")
    if scheme not in ("HTTP", "HTTPS"):
        errors.append(not_supported(f"{path}.scheme", scheme, ["HTTP", "HTTPS"]))
    for header in action.get("httpHeaders") or ():
        name = header.get("name", "")
        errors += [invalid_value(f"{path}.httpHeaders", name, text) for text in names.check_http_header(name)]
    return errors


def _validate_sleep(action: JsonObject, grace_s: int | None, path: str) -> list[FieldError]:
    seconds = action.get("seconds", 0)
    if grace_s is not None and not 0 <= seconds <= grace_s:
        detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_s})"
        return [invalid_value(path, seconds, detail)]
    return []


def validate_handler(handler: JsonObject, grace_s: int | None, path: str) -> list[FieldError]:
    """Exactly one way to act."""
    errors: list[FieldError] = []
    found = [name for name in HANDLERS if handler.get(name) is not None]
    if not found:
        return [required(path, "must specify a handler type")]
    for name in found[1:]:
        errors.append(forbidden_field(f"{path}.{name}", "may not specify more than 1 handler type"))
    action, where = handler[found[0]], f"{path}.{found[0]}"
    match found[0]:
        case "exec":
            if not action.get("command"):
                errors.append(required(f"{where}.command"))
        case "httpGet":
            errors += _validate_http(action, where)
        case "tcpSocket" | "grpc":
            errors += validate_port_or_name(action.get("port"), f"{where}.port")
        case _:
            errors += _validate_sleep(action, grace_s, where)
    return errors


def _validate_probe(probe: JsonObject, grace_s: int | None, path: str) -> list[FieldError]:
    errors = validate_handler(probe, grace_s, path)
    for field in COUNTS:
        value = probe.get(field, 0)
        if isinstance(value, int) and value < 0:
            errors.append(invalid_value(f"{path}.{field}", value, names.NON_NEGATIVE_MESSAGE))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        errors.append(invalid_value(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    return errors


def validate_probes(container: JsonObject, grace_s: int | None, path: str) -> list[FieldError]:
    """The three probes and the lifecycle hooks of one container."""
    errors: list[FieldError] = []
    lifecycle = container.get("lifecycle") or {}
    for hook in ("postStart", "preStop"):
        if lifecycle.get(hook) is not None:
            errors += validate_handler(lifecycle[hook], grace_s, f"{path}.lifecycle.{hook}")
    for name in PROBES:
        probe, where = container.get(name), f"{path}.{name}"
        if probe is None:
            continue
        errors += _validate_probe(probe, grace_s, where)
        if name == "readinessProbe":
            grace = probe.get("terminationGracePeriodSeconds")
            if grace is not None:
                detail = "must not be set for readinessProbes"
                errors.append(invalid_value(f"{where}.terminationGracePeriodSeconds", grace, detail))
        elif probe.get("successThreshold") != 1:
            errors.append(invalid_value(f"{where}.successThreshold", probe.get("successThreshold"), "must be 1"))
    return errors
