"""The types of the API as a graph: what an OpenAPI definition says that checks, patches and managed fields need.

One `Type` per definition, shared by all its users (definitions may be recursive), plus one per list or map
property, because list semantics are declared at the property. Built by `schema.catalog`, never changed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Shape(Enum):
    STRUCT = "struct"
    """Named fields; others are unknown."""
    MAP = "map"
    """Any keys, one element type."""
    LIST = "list"
    SCALAR = "scalar"
    ANY = "any"
    """Free JSON (RawExtension, FieldsV1, JSON): not looked into."""


class Scalar(Enum):
    STRING = "string"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT = "float64"
    BOOL = "bool"
    BYTES = "[]uint8"
    QUANTITY = "resource.Quantity"
    INT_OR_STRING = "intstr.IntOrString"
    TIME = "v1.Time"
    MICRO_TIME = "v1.MicroTime"


@dataclass(eq=False, slots=True)
class Type:
    """Identity is equality: the graph may have cycles."""

    shape: Shape
    go_name: str
    """What Go calls it in error messages: `v1.PodSpec`, `[]string`, `map[string]string`, `int32`."""
    scalar: Scalar | None = None
    fields: dict[str, Field] = field(default_factory=dict)
    """STRUCT: by JSON name."""
    element: Type | None = None
    """MAP and LIST; of a STRUCT: what other fields than its own are, where it may have some."""
    list_type: str = "atomic"
    """LIST: atomic, set or map (x-kubernetes-list-type)."""
    map_keys: tuple[str, ...] = ()
    """LIST of type map: the fields that identify an element (x-kubernetes-list-map-keys)."""
    atomic: bool = False
    """STRUCT or MAP owned and applied as one value (x-kubernetes-map-type: atomic)."""

    @property
    def leaf(self) -> bool:
        """Owned as one value: scalars, free JSON, atomic lists and maps."""
        if self.shape in (Shape.STRUCT, Shape.MAP):
            return self.atomic
        return self.shape is not Shape.LIST or self.list_type == "atomic"

    @property
    def short_name(self) -> str:
        """The Go name without its package: `PodSpec`."""
        return self.go_name.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Field:
    """One property of a struct."""

    name: str
    type: Type
    patch_strategies: frozenset[str] = frozenset()
    """Strategic merge: merge, replace, retainKeys (x-kubernetes-patch-strategy)."""
    merge_key: str = ""
    """Strategic merge: the key of list elements (x-kubernetes-patch-merge-key)."""
    leaf: bool = False
    """Owned as one value: the type is a leaf, or this field makes it one."""
    required: bool = False
    """Always serialised, even when empty."""
    by_value: bool = False
    """Go holds the struct itself, not a pointer: it is there even when nobody set it."""
    drop_zero: bool = False
    """Go cannot tell the zero value (`""`, 0, false, an empty list or map) from absence, and leaves it out."""


ANY = Type(Shape.ANY, "interface {}")
DEDUCED = Type(Shape.MAP, "interface {}")
"""Free JSON of custom resources, walked by what it is: maps field by field, everything else as one value."""
DEDUCED.element = DEDUCED
SCALARS = {scalar: Type(Shape.SCALAR, scalar.value, scalar) for scalar in Scalar}

KEY_DEFAULTS = {"protocol": "TCP"}
"""Defaults of list map keys that an applied configuration may leave out (`+default` markers of core/v1 ports)."""
