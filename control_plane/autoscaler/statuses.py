"""Writing the status of what an autoscaler looks after."""

from __future__ import annotations

from argosy.client import Resource
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject


async def write_status(resource: Resource, obj: JsonObject, status: JsonObject) -> None:
    """Unless it is so already. What was changed or is gone meanwhile is left to the next look. Raises ApiError."""
    if status == meta.status(obj):
        return
    try:
        await resource.update_status({**obj, "status": status})
    except ApiError as error:
        if error.code not in (404, 409):
            raise
