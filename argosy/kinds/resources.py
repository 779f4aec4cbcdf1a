"""Lists of resources (requests, limits, capacity, quota): canonical form and checks. Shared by many kinds.

Rules: pkg/apis/core/validation, ValidateResourceRequirements and ValidateResourceQuantityValue.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.objects import names, quantity
from argosy.objects.status import FieldError, invalid_value, required
from argosy.objects.types import JsonObject

STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
STANDARD_COUNTED = frozenset(
    {
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "storage",
        "services.nodeports",
        "services.loadbalancers",
    }
)
"""What nodes and quotas count besides, under names without a domain."""
HUGE_PAGES_PREFIX = "hugepages-"
NATIVE_DOMAIN = "kubernetes.io/"
NOT_NEGATIVE = "must be greater than or equal to 0"
STANDARD_CONTAINER_COMPLAINT = "must be a standard resource for containers"
FULLY_QUALIFIED_COMPLAINT = "must be a standard resource type or fully qualified"


def canonicalise(resources: object) -> None:
    """Quantities in canonical text, in place, rounded up to thousandths; what is no quantity stays."""
    if not isinstance(resources, dict):
        return
    for name, text in resources.items():
        try:
            parsed = quantity.parse(text)
        except quantity.QuantityError:
            continue
        if parsed.nano % 10**6:
            parsed = quantity.Quantity(parsed.milli * 10**6, parsed.format)
        canonical = str(parsed)
        if canonical != text:
            resources[name] = canonical


def is_native(name: str) -> bool:
    return "/" not in name or NATIVE_DOMAIN in name


def is_extended(name: str) -> bool:
    """A resource that a node offers beyond the standard ones, such as `example.com/gpu`."""
    return not is_native(name) and not name.startswith("requests.")


def validate_quantity(name: str, text: object, path: str) -> list[FieldError]:
    """A number, not negative, and whole for resources that cannot be divided."""
    try:
        amount = quantity.parse(text)
    except quantity.QuantityError as error:
        return [invalid_value(path, text, str(error))]
    if amount.nano < 0:
        return [invalid_value(path, str(text), NOT_NEGATIVE)]
    if is_extended(name) and amount.nano % quantity.NANO:
        return [invalid_value(path, str(text), "must be an integer")]
    return []


def validate_name(name: str, path: str) -> list[FieldError]:
    errors = [invalid_value(path, name, text) for text in names.check_qualified_name(name)]
    known = name in STANDARD or name in STANDARD_COUNTED or name.startswith(HUGE_PAGES_PREFIX)
    if not errors and "/" not in name and not known:
        errors.append(invalid_value(path, name, FULLY_QUALIFIED_COMPLAINT))
    return errors


def _validate_container_name(name: str, path: str) -> list[FieldError]:
    errors = [invalid_value(path, name, text) for text in names.check_qualified_name(name)]
    if errors:
        return errors
    if "/" not in name:
        if name not in STANDARD and not name.startswith(HUGE_PAGES_PREFIX):
            errors.append(invalid_value(path, name, STANDARD_CONTAINER_COMPLAINT))
    elif is_native(name):
        errors.append(invalid_value(path, name, "doesn't follow extended resource name standard"))
    return errors


def validate_list(resources: Mapping[str, object] | None, path: str) -> list[FieldError]:
    """A list for no container in particular (overhead, capacity)."""
    errors: list[FieldError] = []
    for name, text in sorted((resources or {}).items()):
        where = f"{path}[{name}]"
        errors += validate_name(name, where) + validate_quantity(name, text, where)
    return errors


def _amount(text: object) -> quantity.Quantity | None:
    try:
        return quantity.parse(text)
    except quantity.QuantityError:
        return None


def _validate_request(name: str, text: object, limits: Mapping[str, object], path: str) -> list[FieldError]:
    request, limit = _amount(text), _amount(limits[name]) if name in limits else None
    whole = is_extended(name) or name.startswith(HUGE_PAGES_PREFIX)
    if request is None:
        return []
    if limit is None:
        if whole and name not in limits:
            return [required(f"{path}.limits", "Limit must be set for non overcommitable resources")]
        return []
    if whole and request.nano != limit.nano:
        return [invalid_value(f"{path}.requests", str(request), f"must be equal to {name} limit of {limit}")]
    if request.nano > limit.nano:
        detail = f"must be less than or equal to {name} limit of {limit}"
        return [invalid_value(f"{path}.requests", str(request), detail)]
    return []


def validate_requirements(requirements: JsonObject | None, path: str) -> list[FieldError]:
    """`resources` of a container: names, quantities, and no request above its limit."""
    errors: list[FieldError] = []
    limits = (requirements or {}).get("limits") or {}
    requests = (requirements or {}).get("requests") or {}
    for name, text in sorted(limits.items()):
        where = f"{path}.limits[{name}]"
        errors += _validate_container_name(name, where) + validate_quantity(name, text, where)
    for name, text in sorted(requests.items()):
        where = f"{path}.requests[{name}]"
        errors += _validate_container_name(name, where) + validate_quantity(name, text, where)
        errors += _validate_request(name, text, limits, path)
    return errors
