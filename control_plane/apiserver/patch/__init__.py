"""The patches that clients send: JSON patch, JSON merge patch, strategic merge patch."""

from control_plane.apiserver.patch.patches import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    PATCH_TYPES,
    STRATEGIC_MERGE_PATCH,
    Patch,
    parse_patch,
)

__all__ = [
    "APPLY_PATCH",
    "JSON_PATCH",
    "MERGE_PATCH",
    "PATCH_TYPES",
    "STRATEGIC_MERGE_PATCH",
    "Patch",
    "parse_patch",
]
