"""A structural schema as a tree of nodes, which pruning, defaulting, checks, rules and managed fields walk.

`parse` takes a schema that `schema_rules` let pass, or one read from the store: it trusts no types, so that a schema
that somebody wrote past the API cannot crash a server. Upstream: apiextensions-apiserver `pkg/apiserver/schema`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from argosy.objects.types import JsonObject

MAX_DEPTH: Final = 100
META_FIELDS: Final = ("apiVersion", "kind", "metadata")
RESERVED: Final = frozenset(META_FIELDS)


@dataclass(slots=True)
class Node:
    """One level of a schema."""

    schema: JsonObject
    """As written; for value checks and documents. Not to be changed."""
    type: str = ""
    nullable: bool = False
    properties: dict[str, Node] = field(default_factory=dict)
    additional: Node | None = None
    """Of additionalProperties; a node without a type for `true`."""
    items: Node | None = None
    default: Any = None
    has_default: bool = False
    has_defaults: bool = False
    """Here or below."""
    preserve: bool = False
    embedded: bool = False
    int_or_string: bool = False
    list_type: str = "atomic"
    map_keys: tuple[str, ...] = ()
    atomic: bool = False
    all_of: tuple[Node, ...] = ()
    any_of: tuple[Node, ...] = ()
    one_of: tuple[Node, ...] = ()
    none_of: Node | None = None
    rules: tuple[JsonObject, ...] = ()
    """x-kubernetes-validations."""
    has_rules: bool = False
    """Here or below."""
    checks: Any = None
    """What `values` compiled for this node, when first needed."""


def parse(schema: Any, depth: int = 0) -> Node:
    """The tree of a schema."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return Node({}, preserve=True)
    node = Node(schema)
    kind = schema.get("type")
    node.type = kind if isinstance(kind, str) else ""
    node.nullable = schema.get("nullable") is True
    node.preserve = schema.get("x-kubernetes-preserve-unknown-fields") is True
    node.embedded = schema.get("x-kubernetes-embedded-resource") is True
    node.int_or_string = schema.get("x-kubernetes-int-or-string") is True
    node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
    if "default" in schema:
        node.default, node.has_default = schema["default"], True
    if node.type == "array":
        _parse_list(node, schema)
    rules = schema.get("x-kubernetes-validations")
    node.rules = tuple(rule for rule in rules if isinstance(rule, dict)) if isinstance(rules, list) else ()
    _parse_children(node, schema, depth)
    children = [*node.properties.values(), *(each for each in (node.additional, node.items) if each is not None)]
    node.has_defaults = node.has_default or any(child.has_defaults for child in children)
    node.has_rules = bool(node.rules) or any(child.has_rules for child in (*children, *node.all_of))
    return node


def _parse_list(node: Node, schema: JsonObject) -> None:
    listed = schema.get("x-kubernetes-list-type")
    node.list_type = listed if listed in ("set", "map") else "atomic"
    keys = schema.get("x-kubernetes-list-map-keys")
    node.map_keys = tuple(str(key) for key in keys) if isinstance(keys, list) else ()


def _parse_children(node: Node, schema: JsonObject, depth: int) -> None:
    properties = schema.get("properties")
    if isinstance(properties, dict):
        node.properties = {name: parse(item, depth + 1) for name, item in properties.items()}
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        node.additional = parse(additional, depth + 1)
    elif additional is True:
        node.additional = Node({}, preserve=True)
    items = schema.get("items")
    if isinstance(items, dict):
        node.items = parse(items, depth + 1)
    node.all_of = _listed(schema.get("allOf"), depth)
    node.any_of = _listed(schema.get("anyOf"), depth)
    node.one_of = _listed(schema.get("oneOf"), depth)
    negated = schema.get("not")
    if isinstance(negated, dict):
        node.none_of = parse(negated, depth + 1)


def _listed(schemas: Any, depth: int) -> tuple[Node, ...]:
    return tuple(parse(schema, depth + 1) for schema in schemas) if isinstance(schemas, list) else ()


def key_of(item: Any, node: Node) -> tuple[Any, ...] | None:
    """The identity of an element of a list of type map; None when it has none."""
    if not isinstance(item, dict) or node.list_type != "map":
        return None
    key = tuple(item.get(name) for name in node.map_keys)
    return None if any(isinstance(part, dict | list) for part in key) else key


def correlated(old: Any, node: Node) -> dict[tuple[Any, ...], Any]:
    """The elements of an old list by their keys; empty for lists whose elements have no identity."""
    if not isinstance(old, list) or node.list_type != "map":
        return {}
    found: dict[tuple[Any, ...], Any] = {}
    for item in old:
        key = key_of(item, node)
        if key is not None:
            found[key] = item
    return found
