"""Rules that volumes and claims share (pkg/apis/core/validation)."""

from __future__ import annotations

from argosy.kinds import resources
from argosy.objects import names, quantity
from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported, required
from argosy.objects.storage import ACCESS_MODES, VOLUME_MODES
from argosy.objects.types import JsonObject

ONCE_POD = "ReadWriteOncePod"


def validate_access_modes(modes: list[str] | None, path: str, *, needed: str) -> list[FieldError]:
    """`needed`: what to say when there is none."""
    errors = [] if modes else [required(path, needed)]
    known = sorted(ACCESS_MODES)
    errors += [not_supported(path, mode, known) for mode in modes or () if mode not in ACCESS_MODES]
    given = {mode for mode in modes or () if mode in ACCESS_MODES}
    if ONCE_POD in given and len(given) > 1:
        errors.append(forbidden_field(path, f"may not use {ONCE_POD} with other access modes"))
    return errors


def validate_class_name(name: object, path: str) -> list[FieldError]:
    return [invalid_value(path, name, text) for text in names.check_subdomain(str(name))] if name else []


def validate_volume_mode(mode: object, path: str) -> list[FieldError]:
    return [] if mode is None or mode in VOLUME_MODES else [not_supported(path, mode, VOLUME_MODES)]


def validate_size(size: object, path: str) -> list[FieldError]:
    """A quantity above zero."""
    try:
        amount = quantity.parse(size)
    except quantity.QuantityError as error:
        return [invalid_value(path, size, str(error))]
    return [invalid_value(path, str(size), "must be greater than zero")] if amount.nano <= 0 else []


def validate_status_sizes(sizes: JsonObject | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, size in sorted((sizes or {}).items()):
        errors += resources.validate_quantity(name, size, f"{path}[{name}]")
    return errors
