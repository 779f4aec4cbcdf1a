"""One front to the three patches of JSON bodies; server-side apply has its own (managed_fields).

The pipeline parses a patch once and applies it to every state of the object that a retry reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from argosy.objects.types import JsonObject
from control_plane.apiserver.decode import depth, duplicate_fields, media_type, parse_json, unsupported
from control_plane.apiserver.patch import json_patch, merge_patch, strategic
from control_plane.apiserver.patch.errors import malformed
from control_plane.apiserver.schema.schemas import Compiled

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH)

MAX_DEPTH = 256


@dataclass(slots=True)
class Patch:
    """A parsed patch. `apply` gives the patched object, unchecked: run `Compiled.check` over it."""

    apply: Callable[[JsonObject], JsonObject]
    """Changes neither the object nor the patch. Raises ApiError 400 or 422."""
    problems: list[str] = field(default_factory=list)
    """Duplicate fields, and members that a JSON patch does not have, for strict field validation."""


def parse_patch(content_type: str, body: bytes, compiled: Compiled) -> Patch:
    """A JSON, merge or strategic merge patch. Raises ApiError 400, 413 or 415."""
    media = media_type(content_type)
    if media not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH):
        raise unsupported(PATCH_TYPES)
    prefix = "" if media == STRATEGIC_MERGE_PATCH else "error decoding patch: "
    try:
        document = parse_json(body)
    except ValueError as error:
        raise malformed(f"{prefix}{error}") from None
    if depth(document) > MAX_DEPTH:
        raise malformed(f"{prefix}exceeded max depth: at most {MAX_DEPTH} levels are supported")
    if media == JSON_PATCH:
        operations = json_patch.parse(document)
        return Patch(lambda obj: json_patch.apply(obj, operations), json_patch.unknown_members(operations))
    if not isinstance(document, dict):
        raise malformed(
            f"{prefix}json: cannot unmarshal {json_patch.json_type(document)} into Go value of type "
            "map[string]interface {}"
        )
    duplicates = duplicate_fields(body, document)
    if media == MERGE_PATCH:
        return Patch(lambda obj: merge_patch.apply(obj, document), duplicates)
    return Patch(lambda obj: strategic.apply(obj, document, compiled.type), duplicates)
