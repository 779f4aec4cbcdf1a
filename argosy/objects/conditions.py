"""`status.conditions`: find one, or set one so that lastTransitionTime moves only when its status does."""

from __future__ import annotations

from collections.abc import Sequence

from argosy.objects.types import JsonObject


def get(obj: JsonObject, type_: str) -> JsonObject | None:
    """The condition of that type of `obj.status`."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == type_:
            found: JsonObject = condition
            return found
    return None


def is_true(obj: JsonObject, type_: str) -> bool:
    condition = get(obj, type_)
    return condition is not None and condition.get("status") == "True"


def make(type_: str, status: bool | str, time: str, reason: str = "", message: str = "") -> JsonObject:
    """A condition; `status` is a bool or `True`, `False`, `Unknown`; `time` RFC 3339."""
    condition: JsonObject = {
        "type": type_,
        "status": status if isinstance(status, str) else str(bool(status)),
        "lastTransitionTime": time,
    }
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def with_condition(conditions: Sequence[JsonObject], new: JsonObject) -> list[JsonObject]:
    """A list with `new` in the place of the condition of its type, or at the end.

    While the status stays the same the old lastTransitionTime is kept. The operands are not changed.
    """
    result = list(conditions)
    for index, old in enumerate(result):
        if old.get("type") == new["type"]:
            if old.get("status") == new["status"] and "lastTransitionTime" in old:
                new = {**new, "lastTransitionTime": old["lastTransitionTime"]}
            result[index] = new
            return result
    result.append(new)
    return result


def without(conditions: Sequence[JsonObject], type_: str) -> list[JsonObject]:
    return [condition for condition in conditions if condition.get("type") != type_]


def same(old: JsonObject | None, new: JsonObject) -> bool:
    """Whether both say the same, times aside."""
    return old is not None and all(old.get(key) == new.get(key) for key in ("type", "status", "reason", "message"))
