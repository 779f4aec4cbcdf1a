"""A structural schema as the `Type` graph that patches and managed fields walk.

Upstream: kube-openapi `pkg/util/proto` by way of structured-merge-diff; what a schema preserves without knowing it
is walked by what it turns out to be: maps field by field, lists as one value.
"""

from __future__ import annotations

from control_plane.apiserver.crd.structure import RESERVED, Node
from control_plane.apiserver.schema.types import DEDUCED, SCALARS, Field, Scalar, Shape, Type


def root(node: Node, metadata: Type) -> Type:
    """The type of an object with this schema."""
    built = _type(node, metadata, resource=True)
    assert built.shape is Shape.STRUCT
    return built


def _type(node: Node, metadata: Type, *, resource: bool = False) -> Type:
    if node.int_or_string:
        return SCALARS[Scalar.INT_OR_STRING]
    match node.type:
        case "string":
            return SCALARS[Scalar.STRING]
        case "integer":
            return SCALARS[Scalar.INT64]
        case "number":
            return SCALARS[Scalar.FLOAT]
        case "boolean":
            return SCALARS[Scalar.BOOL]
        case "array":
            element = _type(node.items, metadata) if node.items is not None else DEDUCED
            return Type(
                Shape.LIST, "[]" + element.go_name, element=element, list_type=node.list_type, map_keys=node.map_keys
            )
    return _object(node, metadata, resource or node.embedded)


def _object(node: Node, metadata: Type, resource: bool) -> Type:
    if not resource and not node.properties:
        if node.additional is not None:
            element = _type(node.additional, metadata)
            return Type(Shape.MAP, f"map[string]{element.go_name}", element=element, atomic=node.atomic)
        if node.preserve or not node.type:
            return (
                Type(Shape.MAP, "map[string]interface {}", element=DEDUCED, atomic=True) if node.atomic else DEDUCED
            )
    rest = DEDUCED if node.preserve else None
    built = Type(Shape.STRUCT, "struct", element=rest, atomic=node.atomic)
    for name, child in node.properties.items():
        if not (resource and name in RESERVED):
            built.fields[name] = _field(name, _type(child, metadata))
    if resource:
        built.fields["apiVersion"] = _field("apiVersion", SCALARS[Scalar.STRING])
        built.fields["kind"] = _field("kind", SCALARS[Scalar.STRING])
        built.fields["metadata"] = _field("metadata", metadata)
    return built


def _field(name: str, built: Type) -> Field:
    return Field(name=name, type=built, leaf=built.leaf)
