"""Which EndpointSlices to create, update and delete so that they show the wanted endpoints; pure.

Every changed slice is sent to every node, so slices are changed as few as possible and never rebalanced (upstream
`staging/src/k8s.io/endpointslice/reconciler.go`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.controllers.equality import same
from control_plane.controllers.service_pods import Port

Ports = tuple[Port, ...]
Wanted = Mapping[Ports, Mapping[str, JsonObject]]
"""Endpoints by the ports they serve, then by the uid of their pod."""


@dataclass
class Plan:
    create: list[JsonObject] = field(default_factory=list)
    """Bodies with addressType, endpoints and ports only."""
    update: list[JsonObject] = field(default_factory=list)
    delete: list[JsonObject] = field(default_factory=list)


@dataclass
class _Draft:
    """A slice as it would be. `source` is None for a new one."""

    source: JsonObject | None
    ports: Ports
    endpoints: list[JsonObject]
    changed: bool


def ports_of(slice_: JsonObject) -> Ports:
    return tuple(
        Port(
            str(item.get("name") or ""),
            int(item.get("port") or 0),
            str(item.get("protocol") or "TCP"),
            str(item.get("appProtocol") or ""),
        )
        for item in slice_.get("ports") or ()
    )


def uid_of(endpoint: JsonObject) -> str:
    return str((endpoint.get("targetRef") or {}).get("uid", ""))


def plan(existing: Sequence[JsonObject], wanted: Wanted, family: str, most: int) -> Plan:
    """`existing` are the service's slices of that address family, none being deleted; `most` endpoints fit in one.

    One slice always remains, empty if need be: it says that the service was looked at.
    """
    drafts: list[_Draft] = []
    rest = {ports: dict(endpoints) for ports, endpoints in wanted.items() if endpoints}
    for each in existing:
        ports = ports_of(each)
        drafts.append(_kept(each, ports, rest.get(ports, {})))
    for ports, endpoints in rest.items():
        drafts += _placed([each for each in drafts if each.ports == ports], ports, list(endpoints.values()), most)
    result = Plan()
    full = [draft for draft in drafts if draft.endpoints]
    empty = [draft for draft in drafts if not draft.endpoints]
    if not full:
        first = empty[0] if empty else _Draft(None, (), [], True)
        full, empty = [first], empty[1:]
    for draft in full:
        body = {
            "addressType": family,
            "endpoints": draft.endpoints,
            "ports": [port.as_json() for port in draft.ports],
        }
        if draft.source is None:
            result.create.append(body)
        elif draft.changed:
            result.update.append({**draft.source, **body})
    result.delete = [draft.source for draft in empty if draft.source is not None]
    return result


def _kept(slice_: JsonObject, ports: Ports, rest: dict[str, JsonObject]) -> _Draft:
    """What stays of a slice; what it shows is taken out of `rest`."""
    before = slice_.get("endpoints") or []
    endpoints: list[JsonObject] = []
    changed = False
    for old in before:
        new = rest.pop(uid_of(old), None)
        if new is None:
            changed = True
            continue
        changed = changed or not same(new, old)
        endpoints.append(new)
    return _Draft(slice_, ports, endpoints, changed)


def _placed(drafts: Sequence[_Draft], ports: Ports, rest: list[JsonObject], most: int) -> list[_Draft]:
    """Put `rest` into slices that change anyway, then into the fullest one that takes it all, then into new ones."""
    for draft in sorted((each for each in drafts if each.changed), key=lambda each: -len(each.endpoints)):
        room = max(0, most - len(draft.endpoints))
        draft.endpoints += rest[:room]
        del rest[:room]
    new: list[_Draft] = []
    while len(rest) >= most:
        new.append(_Draft(None, ports, rest[:most], True))
        del rest[:most]
    if rest:
        fitting = [each for each in drafts if len(each.endpoints) + len(rest) <= most]
        if fitting:
            fullest = max(fitting, key=lambda each: len(each.endpoints))
            fullest.endpoints += rest
            fullest.changed = True
        else:
            new.append(_Draft(None, ports, rest, True))
    return new


def same_labels(slice_: JsonObject, labels: Mapping[str, str]) -> bool:
    return meta.labels(slice_) == dict(labels)
