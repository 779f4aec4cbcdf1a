"""From a CustomResourceDefinition to its kinds: one `Kind` per version, with the rules of its schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from argosy.kinds.kind import (
    Default,
    FieldGetter,
    Kind,
    Subresource,
    drop_status,
    keep,
    keep_all,
    keep_status,
    scale_subresource,
    status_subresource,
)
from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.status import FieldError
from argosy.objects.types import JsonObject
from control_plane.apiserver.crd import paths, shape, values
from control_plane.apiserver.crd.columns import columns
from control_plane.apiserver.crd.evaluate import Evaluator
from control_plane.apiserver.crd.structure import Node, parse

MAX_REPLICAS: Final = (1 << 31) - 1


@dataclass(frozen=True)
class CustomVersion:
    kind: Kind
    node: Node
    served: bool
    storage: bool


def versions_of(crd: JsonObject) -> list[CustomVersion]:
    """Every version, in the order of the definition."""
    return [_version(crd, version) for version in meta.spec(crd).get("versions") or ()]


def _version(crd: JsonObject, version: JsonObject) -> CustomVersion:
    spec = meta.spec(crd)
    names = meta.status(crd).get("acceptedNames") or spec.get("names") or {}
    group, name, kind = str(spec.get("group", "")), str(version.get("name", "")), str(names.get("kind", ""))
    node = parse((version.get("schema") or {}).get("openAPIV3Schema") or {})
    subresources: list[Subresource] = []
    given = version.get("subresources") or {}
    has_status, scale = given.get("status") is not None, given.get("scale")
    if has_status:
        subresources.append(status_subresource(group, name, kind))
    if scale is not None:
        subresources.append(scale_subresource())
    rules = Rules(node, scale or {})
    made = Kind(
        group=group,
        version=name,
        kind=kind,
        plural=str(names.get("plural", "")),
        singular=str(names.get("singular") or kind.lower()),
        namespaced=spec.get("scope") == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(subresources),
        default=_defaulting(node),
        validate_create=rules.create,
        validate_update=rules.update,
        validate_status_update=rules.update_status,
        prepare_create=drop_status if has_status else keep,
        prepare_update=keep_status if has_status else keep_all,
        columns=columns(version),
        fields=_fields(version),
        has_generation=True,
        unconditional_update=False,
        list_name=str(names.get("listKind") or ""),
        custom=True,
        deprecation=_deprecation(version, f"{group}/{name} {kind}"),
        scale_paths=_scale_paths(scale or {}),
    )
    return CustomVersion(made, node, bool(version.get("served")), bool(version.get("storage")))


def _defaulting(node: Node) -> Default:
    def default(obj: JsonObject) -> None:
        shape.default(obj, node)

    return default


def _deprecation(version: JsonObject, named: str) -> str:
    if not version.get("deprecated"):
        return ""
    return str(version.get("deprecationWarning") or f"{named} is deprecated")


def _scale_paths(scale: JsonObject) -> tuple[str, str, str]:
    spec, status, selector = (
        str(scale.get(name) or "") for name in ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")
    )
    return spec, status, selector


def _fields(version: JsonObject) -> Mapping[str, FieldGetter]:
    found: dict[str, FieldGetter] = {}
    for each in version.get("selectableFields") or ():
        path = str(each.get("jsonPath", ""))
        found[path.removeprefix(".")] = _getter(paths.simple(path))
    return found


def _getter(names: tuple[str, ...]) -> Callable[[JsonObject], str]:
    def get(obj: JsonObject) -> str:
        value = paths.value_at(obj, names)
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value) if isinstance(value, str | int | float) else ""

    return get


class Rules:
    """What an object of one version must be."""

    def __init__(self, node: Node, scale: JsonObject) -> None:
        self._node = node
        self._status = node.properties.get("status")
        self._paths = _scale_paths(scale)
        self._evaluator = Evaluator(node) if node.has_rules else None

    def create(self, obj: JsonObject) -> list[FieldError]:
        found = values.validate(obj, self._node)
        found += self._scale(obj, spec=True)
        return found + self._evaluated(obj, None, found)

    def update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        found = values.validate(new, self._node, old=old)
        found += self._scale(new, spec=True)
        return found + self._evaluated(new, old, found)

    def update_status(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        found: list[FieldError] = []
        if "status" in new and self._status is not None:
            before = old.get("status", values.MISSING)
            found = values.validate(new["status"], self._status, "status", before)
        found += self._scale(new, spec=False)
        return found + self._evaluated(new, old, found)

    def _evaluated(self, new: JsonObject, old: JsonObject | None, found: list[FieldError]) -> list[FieldError]:
        if self._evaluator is None:
            return []
        if values.blocks_rules(found):
            return [errors.invalid_value(values.NOWHERE, None, values.NOT_CHECKED)]
        return self._evaluator.validate(new, old)

    def _scale(self, obj: JsonObject, *, spec: bool) -> list[FieldError]:
        in_spec, in_status, selector = self._paths
        found: list[FieldError] = []
        for path in (in_spec if spec else "", in_status):
            value: Any = paths.value_at(obj, paths.simple(path)) if path else None
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                detail = f"{path} accessor error: {value!r} is of the type {type(value).__name__}, expected int64"
                found.append(errors.invalid_value(path, 0, detail))
            elif value < 0:
                found.append(errors.invalid_value(path, value, "should be a non-negative integer"))
            elif value > MAX_REPLICAS:
                found.append(errors.invalid_value(path, value, f"should be less than or equal to {MAX_REPLICAS}"))
        text: Any = paths.value_at(obj, paths.simple(selector)) if selector else None
        if text is not None and not isinstance(text, str):
            detail = f"{selector} accessor error: {text!r} is of the type {type(text).__name__}, expected string"
            found.append(errors.invalid_value(selector, "", detail))
        return found
