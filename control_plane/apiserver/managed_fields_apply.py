"""Server-side apply: merge the configuration, prune what its manager no longer applies, find conflicts.

Upstream: structured-merge-diff/merge/update.go (Apply, prune) under apimachinery's managers for objects without
managedFields, for client-side apply's annotation, and for no-ops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from argosy.host import rfc3339
from argosy.objects import meta, status
from argosy.objects.status import ApiError
from argosy.objects.types import JsonObject
from control_plane.apiserver.managed_fields_entries import (
    BEFORE_FIRST_APPLY,
    UPDATE,
    Managed,
    Manager,
    Owned,
    decode,
    encode,
    same_but_for_times,
)
from control_plane.apiserver.managed_fields_merge import merge, named_members, problems, remove
from control_plane.apiserver.managed_fields_set import Node, difference, has, intersection, path_text, paths, union
from control_plane.apiserver.managed_fields_walk import compare, field_set
from control_plane.apiserver.schema.schemas import Compiled

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL = "kubectl"

Conflicts = dict[Manager, Node]
_WRITABLE = {
    "approval": ("f:status", "f:conditions"),
    "ephemeralcontainers": ("f:spec", "f:ephemeralContainers"),
    "finalize": ("f:spec", "f:finalizers"),
}
"""What an applied configuration of these subresources can claim."""


def _resizable(fields: Node) -> Node:
    """Of a pod's fields those that its resize can write."""
    spec: Node = {}
    for group in ("f:containers", "f:initContainers"):
        members = {
            member: {name: node for name, node in inner.items() if name in ("f:resources", "f:resizePolicy")}
            for member, inner in fields.get("f:spec", {}).get(group, {}).items()
        }
        claimed = {member: inner for member, inner in members.items() if inner}
        if claimed:
            spec[group] = claimed
    return {"f:spec": spec} if spec else {}


def check_configuration(applied: JsonObject, compiled: Compiled) -> None:
    """Raises ApiError: 400 for another kind or for managedFields, 500 (as upstream) for what the schema has not."""
    if applied.get("apiVersion") != compiled.api_version or applied.get("kind") != compiled.kind:
        group, _, version = str(applied.get("apiVersion", "")).rpartition("/")
        raise status.bad_request(f"invalid object type: {group}/{version}, Kind={applied.get('kind', '')}")
    metadata = applied.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise status.bad_request("metadata.managedFields must be nil")
    found = problems(applied, compiled.type)
    if found:
        text = found[0] if len(found) == 1 else "errors:\n  " + "\n  ".join(found)
        group_version = compiled.api_version if "/" in compiled.api_version else f"/{compiled.api_version}"
        where = f"{meta.namespace(applied)}/{meta.name(applied)}; {group_version}, Kind={compiled.kind}"
        raise status.status_error(500, "", f"failed to create typed patch object ({where}): {text}")


class Applier:
    """One application; made, run once, and dropped."""

    def __init__(
        self,
        live: JsonObject,
        applied: JsonObject,
        owner: Manager,
        api_version: str,
        now_s: float,
        compiled: Compiled,
        strip: Callable[[Node], Node],
    ) -> None:
        self._given = live
        self._live = _without_managed_fields(live)
        self._applied = applied
        self._owner = owner
        self._api_version = api_version
        self._now_s = now_s
        self._compiled = compiled
        self._type = compiled.type
        self._strip = strip

    def run(self, force: bool) -> JsonObject:
        self._validate()
        managed = self._managed()
        previous = managed.owners.get(self._owner)
        mine = self._claimed()
        managed.owners[self._owner] = Owned(mine, self._api_version, rfc3339(self._now_s))
        merged = merge(self._live, self._applied, self._type)
        if previous is not None and previous.fields:
            merged = self._pruned(merged, previous.fields, managed)
        conflicts = self._update(merged, managed)
        if conflicts and not force:
            conflicts = self._not_excused(conflicts)
            if conflicts:
                raise conflict_error(conflicts)
        for manager, lost in self._losses.items():
            owned = managed.owners[manager]
            managed.owners[manager] = Owned(difference(owned.fields, lost), owned.api_version, owned.time)
        owned = managed.owners[self._owner]
        managed.owners[self._owner] = Owned(self._strip(owned.fields), owned.api_version, owned.time)
        # What cannot be decoded is found again by the caller; here it decides what is a no-op.
        self._compiled.check(merged)
        return self._finished(merged, managed)

    def _validate(self) -> None:
        check_configuration(self._applied, self._compiled)

    def _managed(self) -> Managed:
        """The live object's managers; one for all that was there before anybody applied."""
        managed = decode(meta.metadata(self._given).get("managedFields")) or Managed()
        if managed.owners or not self._live:
            return managed
        fields = self._strip(compare(self._compiled.zero, self._live, self._type).added)
        if fields:
            before = Manager(UPDATE, BEFORE_FIRST_APPLY, self._api_version)
            managed.owners[before] = Owned(fields, self._api_version, rfc3339(self._now_s))
        return managed

    def _claimed(self) -> Node:
        """What the configuration claims, without what this subresource cannot write.

        What nobody owns (metadata.name) is in it until the pruning is done, which would take it along otherwise.
        """
        fields = field_set(self._applied, self._type)
        if self._owner.subresource == "status":
            return {key: node for key, node in fields.items() if key == "f:status"}
        if self._owner.subresource == "resize":
            return _resizable(fields)
        if self._owner.subresource in _WRITABLE:
            outer, inner = _WRITABLE[self._owner.subresource]
            below = fields.get(outer, {}).get(inner)
            return {} if below is None else {outer: {inner: below}}
        if not self._owner.subresource and self._compiled.status_apart and "status" in self._type.fields:
            return {key: node for key, node in fields.items() if key != "f:status"}
        return fields

    def _pruned(self, merged: JsonObject, last: Node, managed: Managed) -> JsonObject:
        """Without what the manager applied last time, not this time, and nobody else owns."""
        root = self._type
        everything = field_set(merged, root)
        last = named_members(last, root)
        bare = remove(merged, last, root)
        owned: Node = {}
        for other in managed.owners.values():
            owned = union(owned, other.fields)
        kept = union(named_members(field_set(bare, root), root), named_members(owned, root))
        whole = named_members(everything, root)
        bare = remove(merged, difference(whole, kept), root)
        gone = difference(whole, named_members(field_set(bare, root), root))
        return remove(merged, intersection(gone, last), root)

    def _update(self, merged: JsonObject, managed: Managed) -> Conflicts:
        """What others own of the changes; `_losses` then says what each loses."""
        differences = compare(self._live, merged, self._type)
        changed = union(differences.added, differences.modified)
        conflicts: Conflicts = {}
        self._losses: dict[Manager, Node] = {}
        for manager, owned in managed.owners.items():
            if manager == self._owner:
                continue
            clash = intersection(owned.fields, changed)
            if clash:
                conflicts[manager] = clash
            lost = union(clash, differences.removed)
            if lost:
                self._losses[manager] = lost
        return conflicts

    def _not_excused(self, conflicts: Conflicts) -> Conflicts:
        """kubectl's server-side apply may take over what its client-side apply set and nobody changed since."""
        if self._owner.name != KUBECTL:
            return conflicts
        text = meta.annotations(self._live).get(LAST_APPLIED)
        try:
            last = orjson.loads(text) if text else None
        except orjson.JSONDecodeError:
            return conflicts
        if not isinstance(last, dict) or last.get("apiVersion") != self._api_version or problems(last, self._type):
            return conflicts
        allowed = field_set(last, self._type)
        drift = compare(last, self._live, self._type)
        for changed in (drift.modified, drift.added, drift.removed):
            allowed = difference(allowed, changed)
        left: Conflicts = {}
        for manager, clash in conflicts.items():
            refused = [path for path in paths(clash) if not has(allowed, path)]
            if refused:
                left[manager] = _set_of(refused)
        return left

    def _finished(self, merged: JsonObject, managed: Managed) -> JsonObject:
        metadata = dict(meta.metadata(merged))
        merged = {**merged, "metadata": metadata}
        if self._owner.name == KUBECTL and meta.annotations(merged).get(LAST_APPLIED):
            metadata["annotations"] = {**meta.annotations(merged), LAST_APPLIED: self._last_applied()}
        entries = encode(managed)
        before = meta.metadata(self._given).get("managedFields") or []
        if _without_managed_fields(merged) == self._live and same_but_for_times(entries, before):
            entries = before
        if entries:
            metadata["managedFields"] = entries
        return merged

    def _last_applied(self) -> str:
        """The configuration as client-side apply would have annotated it."""
        configuration = meta.copy_object(self._applied)
        annotations = configuration.get("metadata", {}).get("annotations")
        if isinstance(annotations, dict):
            annotations.pop(LAST_APPLIED, None)
        return orjson.dumps(configuration, option=orjson.OPT_SORT_KEYS).decode() + "\n"


def _without_managed_fields(obj: JsonObject) -> JsonObject:
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def _set_of(members: list[tuple[str, ...]]) -> Node:
    result: Node = {}
    for path in members:
        node: Any = {}
        for element in reversed(path):
            node = {element: node}
        result = union(result, node)
    return result


def conflict_error(conflicts: Conflicts) -> ApiError:
    """409 with a cause per field, in upstream's words."""
    rows = [(manager, path_text(path)) for manager in sorted(conflicts) for path in paths(conflicts[manager])]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager.described()}", "field": path}
        for manager, path in rows
    ]
    if len(rows) == 1:
        text = f"Apply failed with 1 conflict: conflict with {rows[0][0].described()}: {rows[0][1]}"
    else:
        lines: list[str] = []
        for manager in sorted(conflicts):
            lines.append(f"conflicts with {manager.described()}:")
            lines.extend(f"- {path}" for owner, path in rows if owner == manager)
        text = f"Apply failed with {len(rows)} conflicts: " + "\n".join(lines)
    return status.status_error(409, "Conflict", text, {"causes": causes})
