"""metadata.managedFields: the list of entries, decoded to managers with their sets, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from argosy.objects.types import JsonObject
from control_plane.apiserver.managed_fields_set import Node, is_valid, union

UPDATE = "Update"
APPLY = "Apply"
MAX_UPDATE_MANAGERS = 10
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"
MAX_MANAGER_CHARS = 128


@dataclass(frozen=True, slots=True, order=True)
class Manager:
    """Who owns: appliers are the same manager whatever version they apply in."""

    operation: str
    name: str
    api_version: str
    subresource: str = ""

    def described(self) -> str:
        """`"kubectl" using apps/v1`, as conflicts name managers."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


@dataclass(slots=True)
class Owned:
    """What a manager owns. `fields` is never changed, only replaced."""

    fields: Node
    api_version: str
    time: str
    entry: JsonObject | None = None
    """The stored entry, while it is still true."""


@dataclass(slots=True)
class Managed:
    owners: dict[Manager, Owned] = field(default_factory=dict)


def manager_of(operation: str, name: str, api_version: str, subresource: str) -> Manager:
    return Manager(operation, name or "unknown", "" if operation == APPLY else api_version, subresource)


def decode(entries: Any, *, trusted: bool = False) -> Managed | None:
    """The managers of a managedFields list; None when it is not one. `trusted`: we wrote it."""
    if not isinstance(entries, list):
        return None
    managed = Managed()
    for entry in entries:
        if not isinstance(entry, dict):
            return None
        operation, fields = entry.get("operation"), entry.get("fieldsV1")
        if operation not in (UPDATE, APPLY) or entry.get("fieldsType", "FieldsV1") != "FieldsV1":
            return None
        fields = {} if fields is None else fields
        if not trusted and not is_valid(fields):
            return None
        version = str(entry.get("apiVersion", ""))
        manager = manager_of(operation, str(entry.get("manager", "")), version, str(entry.get("subresource", "")))
        owned = Owned(fields, version, str(entry.get("time") or ""), entry if trusted else None)
        twin = managed.owners.get(manager)
        if twin is not None:
            owned = Owned(union(twin.fields, fields), version, owned.time)
        managed.owners[manager] = owned
    return managed


def encode(managed: Managed) -> list[JsonObject]:
    """The list to store: appliers first, then by time, manager, version and subresource."""
    rows: list[tuple[tuple[str, ...], JsonObject]] = []
    for manager, owned in managed.owners.items():
        if not owned.fields:
            continue
        order = (manager.operation, owned.time, manager.name, owned.api_version, manager.subresource)
        rows.append((order, owned.entry if owned.entry is not None else _entry(manager, owned)))
    rows.sort(key=lambda row: row[0])
    return [entry for _, entry in rows]


def _entry(manager: Manager, owned: Owned) -> JsonObject:
    entry: JsonObject = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": owned.api_version,
        "time": owned.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": owned.fields,
    }
    if not owned.time:
        del entry["time"]
    if manager.subresource:
        entry["subresource"] = manager.subresource
    return entry


def is_reset(entries: Any) -> bool:
    """`[]` or `[{}]`: the client asks to forget who owns what."""
    return entries in ([], [{}])


def cap_updates(managed: Managed) -> None:
    """Fold the oldest Update managers of each version into one, so that there are no more than ten."""
    updates = [manager for manager in managed.owners if manager.operation == UPDATE]
    surplus = len(updates) - MAX_UPDATE_MANAGERS
    if surplus <= 0:
        return
    updates.sort(key=lambda manager: (managed.owners[manager].time, manager))
    first_of: dict[str, Manager] = {}
    for manager in updates:
        if surplus <= 0:
            break
        owned = managed.owners[manager]
        bucket = Manager(UPDATE, ANCIENT, owned.api_version)
        first = first_of.get(owned.api_version)
        if first is None:
            first_of[owned.api_version] = manager
            continue
        if bucket not in managed.owners:
            managed.owners[bucket] = managed.owners.pop(first)
        if manager != bucket:
            merged = union(managed.owners[bucket].fields, owned.fields)
            managed.owners[bucket] = Owned(merged, owned.api_version, owned.time)
            del managed.owners[manager]
            surplus -= 1


def same_but_for_times(left: Iterable[JsonObject], right: Iterable[JsonObject]) -> bool:
    def bare(entries: Iterable[JsonObject]) -> list[JsonObject]:
        rows = [{key: value for key, value in entry.items() if key != "time"} for entry in entries]
        return sorted(rows, key=lambda row: (row["operation"], row["manager"], str(row.get("subresource"))))

    return bare(left) == bare(right)
