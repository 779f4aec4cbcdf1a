"""Who owns which field: managedFields recorded on every write, and server-side apply.

`record` is called by the pipeline on create, update and patch, after defaulting; `apply` makes the object of an apply
patch. Both are functions of their arguments. Upstream: apimachinery pkg/util/managedfields and
structured-merge-diff/merge.
"""

from __future__ import annotations

from argosy.host import rfc3339
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.apiserver.managed_fields_apply import Applier
from control_plane.apiserver.managed_fields_entries import (
    APPLY,
    UPDATE,
    Managed,
    Owned,
    cap_updates,
    decode,
    encode,
    is_reset,
    manager_of,
)
from control_plane.apiserver.managed_fields_set import Node, difference, union, without
from control_plane.apiserver.managed_fields_walk import compare
from control_plane.apiserver.schema.schemas import Compiled

__all__ = ["apply", "record"]

_STRIPPED = (
    ("f:apiVersion",),
    ("f:kind",),
    *(
        ("f:metadata", "f:" + name)
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
)
"""Nobody owns what the server sets."""


def record(
    new: JsonObject,
    old: JsonObject | None,
    manager: str,
    operation: str,
    api_version: str,
    subresource: str,
    now_s: float,
    compiled: Compiled,
) -> None:
    """Set `new`'s metadata.managedFields for a write by `manager`, in place.

    `old` is the stored object, None on create; `new` is a private copy, complete as it will be stored. Nested parts
    of managedFields may be shared with `old` afterwards. An object whose managedFields were emptied stays without.
    """
    before = meta.metadata(old or {}).get("managedFields")
    metadata = new.setdefault("metadata", {})
    given = metadata.pop("managedFields", None)
    kept = before if subresource or given is None else given
    managed = _starting_point(given, before, old is None, bool(subresource))
    if managed is None:
        return
    differences = compare(old if old is not None else compiled.zero, new, compiled.type)
    touched = union(differences.added, differences.modified)
    mine = strip(touched)
    if not mine and not differences.removed:
        if kept and kept is not given:
            metadata["managedFields"] = kept
        elif entries := encode(managed):
            metadata["managedFields"] = entries
        return
    _take(managed, touched, differences.removed)
    if mine:
        owner = manager_of(operation or UPDATE, manager, api_version, subresource)
        previous = managed.owners.get(owner)
        fields = union(previous.fields, mine) if previous is not None else mine
        managed.owners[owner] = Owned(fields, api_version, rfc3339(now_s))
    cap_updates(managed)
    entries = encode(managed)
    if entries:
        metadata["managedFields"] = entries


def _starting_point(given: object, before: object, creating: bool, subresource: bool) -> Managed | None:
    """The managers to start from; None when this object's fields are not tracked."""
    if not subresource and is_reset(given):
        return Managed() if creating else None
    managed = None if subresource or given == before else decode(given)
    if managed is None or not managed.owners:
        managed = decode(before, trusted=True)
    if managed is None:
        managed = Managed()
    return managed if managed.owners or creating else None


def _take(managed: Managed, touched: Node, removed: Node) -> None:
    """Everybody loses what was written or removed."""
    for owner, owned in list(managed.owners.items()):
        fields = difference(difference(owned.fields, touched), removed)
        if not fields:
            del managed.owners[owner]
        elif fields != owned.fields:
            managed.owners[owner] = Owned(fields, owned.api_version, owned.time)


def strip(fields: Node) -> Node:
    """Without the fields that have no owner."""
    for path in _STRIPPED:
        if path[0] in fields:
            fields = without(fields, path)
    if fields.get("f:metadata") == {}:
        fields = {key: value for key, value in fields.items() if key != "f:metadata"}
    return fields


def apply(
    live: JsonObject | None,
    applied: JsonObject,
    manager: str,
    force: bool,
    api_version: str,
    subresource: str,
    now_s: float,
    compiled: Compiled,
) -> JsonObject:
    """The object that server-side apply makes of `live` (None or empty: a creation), managedFields included.

    The result shares nothing that may be changed with its arguments; it still is to be checked and defaulted. When
    it equals `live`, managedFields keep their times, so that nothing is written. Raises ApiError: 400 for a wrong
    kind or managedFields in the configuration, 409 with one cause per conflict unless `force`, 500 (as upstream) for
    fields that the schema does not have.
    """
    owner = manager_of(APPLY, manager, api_version, subresource)
    return Applier(live or {}, applied, owner, api_version, now_s, compiled, strip).run(force)
