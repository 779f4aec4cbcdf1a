"""What a schema must be to define a custom resource: structural, without what is not supported, with sound defaults.

Upstream: apiextensions-apiserver `pkg/apiserver/schema/validation.go` (structural), `…/defaulting/validation.go`,
`pkg/apis/apiextensions/validation/validation.go` (ValidateCustomResourceDefinitionOpenAPISchema).
"""

from __future__ import annotations

from typing import Any, Final

from argosy.kinds.crd_validation import MAX_SELECTABLE_FIELDS
from argosy.objects import meta
from argosy.objects.status import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_many,
)
from argosy.objects.types import JsonObject
from control_plane.apiserver.crd import paths, rules, shape, values
from control_plane.apiserver.crd.list_rules import list_and_map_rules
from control_plane.apiserver.crd.rule_rules import rule_forms
from control_plane.apiserver.crd.structure import MAX_DEPTH, RESERVED, Node, parse

TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_REFUSED: Final = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_NESTED_REFUSED: Final = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("externalDocs", "must be undefined to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)
_INT_OR_STRING: Final = [{"type": "integer"}, {"type": "string"}]
_AT_ROOT: Final = frozenset(
    (
        *("description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"),
        *("maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "required"),
        *("items", "properties", "externalDocs", "example", "x-kubernetes-preserve-unknown-fields"),
        "x-kubernetes-validations",
    )
)
"""What a schema with a status subresource may have at its root, for status to stand on its own."""


def check_version(version: JsonObject, path: str) -> list[FieldError]:
    """Of one version of a definition."""
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if not isinstance(schema, dict):
        return []  # said already
    where = f"{path}.schema.openAPIV3Schema"
    found = _check_root(schema, where, (version.get("subresources") or {}).get("status") is not None)
    if found:
        return found
    structural = _Structural().check(schema, where)
    if structural:
        return sorted(structural, key=str)
    node = parse(schema)
    found = _Supported().check(schema, where)
    found += _check_defaults(node, where)
    found += _check_selectable(version, node, f"{path}.selectableFields")
    if not found and node.has_rules:
        found = rules.check_rules(node, where)
    return found


def _check_root(schema: JsonObject, path: str, status: bool) -> list[FieldError]:
    found: list[FieldError] = []
    if status:
        others = [name for name, value in schema.items() if value and name not in _AT_ROOT]
        if schema.get("type") not in (None, "", "object"):
            detail = (
                'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
            )
            found.append(invalid_value(f"{path}.type", schema["type"], detail))
        elif others:
            detail = (
                f"only [{' '.join(sorted(_AT_ROOT))}] fields are allowed at the root of the schema if the status "
                "subresource is enabled"
            )
            found.append(invalid_value(path, others, detail))
    if schema.get("nullable"):
        found.append(forbidden_field(f"{path}.nullable", "nullable cannot be true at the root"))
    return found


class _Structural:
    """That every level says what it is, and that combinations only restrict it."""

    def __init__(self) -> None:
        self.found: list[FieldError] = []

    def check(self, schema: JsonObject, path: str) -> list[FieldError]:
        self._level(schema, path, "root", 0)
        return self.found

    def _level(self, schema: Any, path: str, level: str, depth: int) -> None:
        if not isinstance(schema, dict):
            self.found.append(invalid_value(path, schema, "must be a schema"))
            return
        if depth > MAX_DEPTH:
            self.found.append(forbidden_field(path, f"at most {MAX_DEPTH} levels are supported"))
            return
        kind = schema.get("type") or ""
        if kind == "array" and not schema.get("items"):
            self.found.append(required(f"{path}.items", "must be specified"))
        items = schema.get("items")
        if isinstance(items, dict):
            self._level(items, f"{path}.items", "item", depth + 1)
        for name, child in (schema.get("properties") or {}).items():
            self._level(child, f"{path}.properties[{name}]", "field", depth + 1)
        self._additional(schema, path, level, depth)
        self._extensions(schema, path)
        self._combinations(schema, path, level, depth)
        self._type(schema, kind, path, level)
        self._metadata(schema, path, level)

    def _additional(self, schema: JsonObject, path: str, level: str, depth: int) -> None:
        additional = schema.get("additionalProperties")
        if additional is None:
            return
        if level == "root":
            self.found.append(forbidden_field(f"{path}.additionalProperties", "must not be used at the root"))
        if isinstance(additional, dict):
            self._level(additional, f"{path}.additionalProperties", "field", depth + 1)

    def _extensions(self, schema: JsonObject, path: str) -> None:
        if schema.get("x-kubernetes-int-or-string"):
            for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
                if schema.get(name):
                    detail = "must be false if x-kubernetes-int-or-string is true"
                    self.found.append(invalid_value(f"{path}.{name}", True, detail))

    def _combinations(self, schema: JsonObject, path: str, level: str, depth: int) -> None:
        any_of, all_of = schema.get("anyOf") or [], schema.get("allOf") or []
        if any_of == _INT_OR_STRING:
            any_of = []
        for index, nested in enumerate(any_of):
            self._nested(nested, f"{path}.anyOf[{index}]", level, depth)
        for index, nested in enumerate(all_of):
            if index == 0 and isinstance(nested, dict) and nested.get("anyOf") == _INT_OR_STRING:
                nested = {key: value for key, value in nested.items() if key != "anyOf"}
            self._nested(nested, f"{path}.allOf[{index}]", level, depth)
        for index, nested in enumerate(schema.get("oneOf") or []):
            self._nested(nested, f"{path}.oneOf[{index}]", level, depth)
        if schema.get("not") is not None:
            self._nested(schema["not"], f"{path}.not", level, depth)
        pattern = schema.get("pattern")
        if pattern and (not isinstance(pattern, str) or values.compiled_pattern(pattern) is None):
            detail = "must be a valid regular expression, but isn't: it cannot be parsed"
            self.found.append(invalid_value(f"{path}.pattern", pattern, detail))

    def _nested(self, nested: Any, path: str, level: str, depth: int) -> None:
        if not isinstance(nested, dict):
            self.found.append(invalid_value(path, nested, "must be a schema"))
            return
        if depth > MAX_DEPTH:
            self.found.append(forbidden_field(path, f"at most {MAX_DEPTH} levels are supported"))
            return
        self._combinations(nested, path, level, depth + 1)
        if isinstance(nested.get("items"), dict):
            self._nested(nested["items"], f"{path}.items", level, depth + 1)
        for name, child in (nested.get("properties") or {}).items():
            self._nested(child, f"{path}.properties[{name}]", "field", depth + 1)
            if name == "metadata":
                detail = "must not be specified in a nested context"
                self.found.append(forbidden_field(f"{path}.properties[metadata]", detail))
        for name, detail in _NESTED_REFUSED:
            if nested.get(name) not in (None, "", False, []):
                self.found.append(forbidden_field(f"{path}.{name}", detail))

    def _type(self, schema: JsonObject, kind: str, path: str, level: str) -> None:
        embedded = schema.get("x-kubernetes-embedded-resource")
        where = f"{path}.type"
        if embedded and kind != "object":
            detail = "must be object if x-kubernetes-embedded-resource is true"
            self.found.append(invalid_value(where, kind, detail) if kind else required(where, detail))
        elif not kind and not (
            schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
        ):
            what = {"root": "at the root", "item": "for specified array items"}.get(
                level, "for specified object fields"
            )
            self.found.append(required(where, f"must not be empty {what}"))
        if embedded and schema.get("additionalProperties") is not None:
            detail = "must not be used if x-kubernetes-embedded-resource is set"
            self.found.append(forbidden_field(f"{path}.additionalProperties", detail))
        if level == "root" and kind and kind != "object":
            self.found.append(invalid_value(where, kind, "must be object at the root"))
        preserves = schema.get("x-kubernetes-preserve-unknown-fields")
        if embedded and not preserves and not schema.get("properties"):
            detail = (
                "must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields"
            )
            self.found.append(required(f"{path}.properties", detail))

    def _metadata(self, schema: JsonObject, path: str, level: str) -> None:
        """Of resources: kind and apiVersion are texts, metadata an object that says no more than names."""
        resource = level == "root" or schema.get("x-kubernetes-embedded-resource")
        properties = schema.get("properties") or {}
        if not resource:
            return
        for name, wanted in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
            child = properties.get(name)
            if isinstance(child, dict) and child.get("type") != wanted:
                where = f"{path}.properties[{name}].type"
                self.found.append(invalid_value(where, child.get("type") or "", f"must be {wanted}"))
        metadata = properties.get("metadata")
        if level != "root" or not isinstance(metadata, dict):
            return
        names = set(metadata.get("properties") or {})
        others = {
            key for key, value in metadata.items() if value and key not in ("type", "properties", "description")
        }
        if not names <= {"name", "generateName"} or others - {"required", "title"}:
            detail = (
                "must not specify anything other than name and generateName, but metadata is implicitly specified"
            )
            self.found.append(forbidden_field(f"{path}.properties[metadata]", detail))


class _Supported:
    """Everything else that upstream asks of each level."""

    def __init__(self) -> None:
        self.found: list[FieldError] = []

    def check(self, schema: JsonObject, path: str) -> list[FieldError]:
        self._level(schema, path, inside_metadata=False, no_default="", root=True)
        return self.found

    def _level(
        self, schema: Any, path: str, *, inside_metadata: bool, no_default: str, root: bool = False, deep: bool = True
    ) -> None:
        if not isinstance(schema, dict):
            return
        self._own(schema, path, inside_metadata, no_default)
        self.found += list_and_map_rules(schema, path)
        self.found += rule_forms(schema, path)
        resource = root or bool(schema.get("x-kubernetes-embedded-resource"))
        for name, child in (schema.get("properties") or {}).items():
            meta_field = resource and name in RESERVED
            reason = f"in top-level {name}" if meta_field and root else no_default
            where = f"{path}.properties[{name}]"
            self._level(child, where, inside_metadata=inside_metadata or meta_field, no_default=reason)
        additional = schema.get("additionalProperties")
        if isinstance(additional, dict):
            reason = "inside additionalProperties applying to object metadata" if inside_metadata else no_default
            where = f"{path}.additionalProperties"
            self._level(additional, where, inside_metadata=inside_metadata, no_default=reason)
        if additional is not None and schema.get("properties"):
            detail = "additionalProperties and properties are mutual exclusive"
            self.found.append(forbidden_field(f"{path}.additionalProperties", detail))
        items = schema.get("items")
        self._level(items, f"{path}.items", inside_metadata=inside_metadata, no_default=no_default)
        for name in ("allOf", "anyOf", "oneOf"):
            for index, nested in enumerate(schema.get(name) or []):
                where = f"{path}.{name}[{index}]"
                self._level(nested, where, inside_metadata=inside_metadata, no_default=no_default)
        self._level(schema.get("not"), f"{path}.not", inside_metadata=inside_metadata, no_default=no_default)

    def _own(self, schema: JsonObject, path: str, inside_metadata: bool, no_default: str) -> None:
        kind = schema.get("type") or ""
        if kind == "null":
            detail = "type cannot be set to null, use nullable as an alternative"
            self.found.append(forbidden_field(f"{path}.type", detail))
        if kind and kind not in TYPES:
            self.found.append(not_supported(f"{path}.type", kind, TYPES))
        if "default" in schema and no_default:
            self.found.append(forbidden_field(f"{path}.default", f"must not be set {no_default}"))
        for name in _REFUSED:
            if schema.get(name) is not None:
                self.found.append(forbidden_field(f"{path}.{name}", f"{name} is not supported"))
        if isinstance(schema.get("items"), list):
            self.found.append(forbidden_field(f"{path}.items", "items must be a schema object and not an array"))
        if inside_metadata and schema.get("x-kubernetes-embedded-resource"):
            detail = "must not be used inside of resource meta"
            self.found.append(forbidden_field(f"{path}.x-kubernetes-embedded-resource", detail))
        if schema.get("uniqueItems"):
            detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            self.found.append(forbidden_field(f"{path}.uniqueItems", detail))
        if schema.get("x-kubernetes-preserve-unknown-fields") is False:
            where = f"{path}.x-kubernetes-preserve-unknown-fields"
            self.found.append(invalid_value(where, False, "must be true or undefined"))


def _check_defaults(node: Node, path: str) -> list[FieldError]:
    """Each default is what its schema allows, without unknown fields."""
    if not node.has_defaults:
        return []
    found: list[FieldError] = []
    if node.has_default:
        where = f"{path}.default"
        pruned = meta.copy(node.default)
        holder: JsonObject = {"value": pruned}
        if shape.prune(holder, Node({}, properties={"value": node})):
            found.append(invalid_value(where, node.default, "must not have unknown fields"))
        else:
            found += values.validate(node.default, node, where)
    for name, child in node.properties.items():
        found += _check_defaults(child, f"{path}.properties[{name}]")
    if node.items is not None:
        found += _check_defaults(node.items, f"{path}.items")
    return found


def _check_selectable(version: JsonObject, root: Node, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[tuple[str, ...]] = set()
    for index, each in enumerate(version.get("selectableFields") or []):
        where = f"{path}[{index}].jsonPath"
        text = each.get("jsonPath") or ""
        if not text:
            found.append(required(where))
            continue
        names = paths.simple(text)
        node = _node_at(root, names) if text.startswith(".") and "[" not in text else None
        if node is None:
            found.append(invalid_value(where, text, "is an invalid path: does not refer to a valid field"))
            continue
        if names[0] == "metadata":
            found.append(invalid_value(where, text, "must not point to fields in metadata"))
        if node.type not in ("string", "boolean", "integer"):
            detail = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with "
                "formats are allowed."
            )
            found.append(invalid_value(where, text, detail))
        if names in seen:
            found.append(duplicate(where, text))
        seen.add(names)
    if len(seen) > MAX_SELECTABLE_FIELDS:
        found.append(too_many(path, len(seen), MAX_SELECTABLE_FIELDS))
    return found


def _node_at(node: Node, names: tuple[str, ...]) -> Node | None:
    here: Node | None = node
    for name in names:
        if here is None:
            return None
        here = here.properties.get(name)
    return here
