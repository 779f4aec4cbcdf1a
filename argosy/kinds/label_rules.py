"""Checks of labels and of LabelSelector objects (apimachinery `pkg/apis/meta/v1/validation`)."""

from __future__ import annotations

from argosy.objects import names
from argosy.objects.status import FieldError, forbidden_field, invalid_value, required, too_long
from argosy.objects.types import JsonObject

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def validate_labels(labels: object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not isinstance(labels, dict):
        return errors
    for key, value in sorted(labels.items()):
        errors += [invalid_value(path, key, text) for text in names.check_qualified_name(key)]
        errors += [invalid_value(path, value, text) for text in names.check_label_value(str(value))]
    return errors


def validate_selector(selector: JsonObject | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if selector is None:
        return errors
    errors += validate_labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for index, item in enumerate(selector.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        operator, values, key = item.get("operator", ""), item.get("values") or [], item.get("key", "")
        if operator in ("In", "NotIn"):
            if not values:
                errors.append(required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(forbidden_field(f"{where}.values", detail))
        else:
            errors.append(invalid_value(f"{where}.operator", operator, "not a valid selector operator"))
        errors += [invalid_value(f"{where}.key", key, text) for text in names.check_qualified_name(key)]
        for place, value in enumerate(values):
            errors += [
                invalid_value(f"{where}.values[{place}]", value, text) for text in names.check_label_value(str(value))
            ]
    return errors


MAX_ANNOTATION_BYTES = 256 << 10


def validate_annotations(annotations: object, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not isinstance(annotations, dict):
        return errors
    total = 0
    for key, value in sorted(annotations.items()):
        errors += [invalid_value(path, key, text) for text in names.check_qualified_name(key.lower())]
        total += len(key.encode()) + len(str(value).encode())
    if total > MAX_ANNOTATION_BYTES:
        errors.append(too_long(path, MAX_ANNOTATION_BYTES))
    return errors
