"""The two ways a patch fails before its result is looked at."""

from __future__ import annotations

from argosy.objects import status
from argosy.objects.status import ApiError

REJECTED = "the server rejected our request due to an error in our request"


def malformed(message: str) -> ApiError:
    """400: the patch is not of its format."""
    return status.bad_request(message)


def rejected(message: str) -> ApiError:
    """422: the patch does not fit the object. Upstream keeps the reason to itself; here it is a cause."""
    return status.status_error(
        422, "Invalid", REJECTED, {"causes": [{"reason": "UnexpectedServerResponse", "message": message}]}
    )
