"""JSON merge patch (RFC 7386)."""

from __future__ import annotations

from typing import Any

from argosy.objects import meta
from argosy.objects.types import JsonObject


def apply(obj: JsonObject, patch: JsonObject) -> JsonObject:
    """The patched object; neither argument is changed, and the result shares nothing with them."""
    return _merged(obj, patch)


def _merged(target: Any, patch: JsonObject) -> JsonObject:
    result: JsonObject = {}
    if isinstance(target, dict):
        for key, value in target.items():
            if key not in patch:
                result[key] = meta.copy(value)
            elif (change := patch[key]) is not None:
                result[key] = _merged(value, change) if isinstance(change, dict) else meta.copy(change)
    for key, change in patch.items():
        if change is not None and key not in result:
            result[key] = _merged(None, change) if isinstance(change, dict) else meta.copy(change)
    return result
