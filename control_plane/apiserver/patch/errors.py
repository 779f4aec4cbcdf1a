"""The two ways a patch fails before its result is looked at."""

from __future__ import annotations

from typing import Any

from argosy.objects import status
from argosy.objects.status import ApiError

REJECTED = "the server rejected our request due to an error in our request"


def malformed(message: str) -> ApiError:
    """400: the patch is not of its format."""
    return status.bad_request(message)


def rejected(message: str) -> ApiError:
    """422: the patch does not fit the object. Upstream keeps the reason to itself; here it is a cause."""
    return status.status_error(
        422,
        "Invalid",
        REJECTED,
        {"causes": [{"reason": "UnexpectedServerResponse", "message": message, "field": "patch"}]},
    )


def shown(value: Any) -> str:
    """A JSON value as Go's %v prints it: `map[image:x]`, `[a b]`, `<nil>`."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{shown(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(shown(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
