"""Which names a CustomResourceDefinition gets: its own as far as no other of its group has them; pure.

Upstream: apiextensions-apiserver `pkg/controller/status/naming_controller.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from argosy.kinds.custom_resource_definition import ESTABLISHED, NAMES_ACCEPTED
from argosy.objects import conditions, meta
from argosy.objects.types import JsonObject

APPROVAL: Final = "api-approved.kubernetes.io"
CONFORMANT: Final = "KubernetesAPIApprovalPolicyConformant"
PROTECTED: Final = ("k8s.io", "kubernetes.io")
INSTALLING: Final = "the initial names have been accepted"


def _taken(others: Iterable[JsonObject]) -> tuple[set[str], set[str]]:
    """(resource names, kinds) of the group's other definitions."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        names = meta.status(other).get("acceptedNames") or {}
        resources.update(name for key in ("plural", "singular") if (name := names.get(key)))
        resources.update(names.get("shortNames") or ())
        kinds.update(name for key in ("kind", "listKind") if (name := names.get(key)))
    return resources, kinds


def accepted(crd: JsonObject, others: Iterable[JsonObject], now: str) -> JsonObject:
    """The status that follows: acceptedNames, NamesAccepted, Established as far as names decide it."""
    resources, kinds = _taken(others)
    wanted = meta.spec(crd).get("names") or {}
    status = meta.status(crd)
    present = status.get("acceptedNames") or {}
    names = dict(present)
    conflict: tuple[str, str] | None = None
    for key, used, reason in (
        ("plural", resources, "PluralConflict"),
        ("singular", resources, "SingularConflict"),
        ("shortNames", resources, "ShortNamesConflict"),
        ("kind", kinds, "KindConflict"),
        ("listKind", kinds, "ListKindConflict"),
    ):
        own = present.get(key)
        asked = wanted.get(key)
        if isinstance(asked, list):
            clashes = [name for name in asked if name not in (own or ()) and name in used]
        else:
            clashes = [asked] if asked and asked != own and asked in used else []
        if clashes:
            texts = [f'"{name}" is already in use' for name in clashes]
            conflict = (reason, texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]")
        elif asked:
            names[key] = asked
        else:
            names.pop(key, None)
    if wanted.get("categories"):
        names["categories"] = wanted["categories"]
    else:
        names.pop("categories", None)
    return {**status, "acceptedNames": names, "conditions": _conditions(crd, conflict, now)}


def _conditions(crd: JsonObject, conflict: tuple[str, str] | None, now: str) -> list[JsonObject]:
    found = list(meta.status(crd).get("conditions") or ())
    reason, message = conflict or ("NoConflicts", "no conflicts found")
    found = conditions.with_condition(found, conditions.make(NAMES_ACCEPTED, conflict is None, now, reason, message))
    approval = _approval(crd, now)
    if approval is not None:
        found = conditions.with_condition(found, approval)
    if conditions.is_true(crd, ESTABLISHED):
        return found
    reason, message = ("NotAccepted", "not all names are accepted") if conflict else ("Installing", INSTALLING)
    return conditions.with_condition(found, conditions.make(ESTABLISHED, False, now, reason, message))


def _approval(crd: JsonObject, now: str) -> JsonObject | None:
    """What the annotation of a definition in one of Kubernetes' own groups says (KEP-1111)."""
    given = meta.annotations(crd).get(APPROVAL, "")
    if not is_protected(str(meta.spec(crd).get("group", ""))):
        return None
    if given.startswith("unapproved"):
        return conditions.make(CONFORMANT, False, now, "UnapprovedAnnotation", f'not approved: "{given}"')
    return conditions.make(CONFORMANT, True, now, "ApprovedAnnotation", f"approved in {given}")


def is_protected(group: str) -> bool:
    """One of Kubernetes' own groups."""
    return any(group == name or group.endswith(f".{name}") for name in PROTECTED)


def needs_names(crd: JsonObject) -> bool:
    """Whether names are to be looked at: what was asked for is not what it has."""
    accepted_names = meta.status(crd).get("acceptedNames") or {}
    wanted = {key: value for key, value in (meta.spec(crd).get("names") or {}).items() if value}
    return accepted_names != wanted or conditions.get(crd, NAMES_ACCEPTED) is None
