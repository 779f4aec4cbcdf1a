"""metadata.managedFields on every write, by the recorder in `managed_fields.py`."""

from __future__ import annotations

from typing import Final

from argosy.objects.types import JsonObject
from control_plane.apiserver import managed_fields
from control_plane.apiserver.request import Request
from control_plane.apiserver.schema.schemas import Compiled

MANAGER_MAX: Final = 128
DEFAULT_MANAGER: Final = "unknown"


def manager_of(request: Request) -> str:
    """The field manager: as asked, or the client program's name."""
    if request.write.field_manager:
        return request.write.field_manager
    return (request.user_agent.partition("/")[0] or DEFAULT_MANAGER)[:MANAGER_MAX]


def record(
    request: Request, new: JsonObject, old: JsonObject | None, compiled: Compiled, now_s: float, subresource: str = ""
) -> None:
    """Note in `new` which fields this request's manager set, compared with `old`."""
    managed_fields.record(new, old, manager_of(request), "Update", compiled.api_version, subresource, now_s, compiled)
