"""From OpenAPI definitions to the `Type` graph, one definition at a time and on demand.

A struct enters the table before its fields are built, so recursive definitions (JSONSchemaProps) close onto
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.objects.types import JsonObject
from control_plane.apiserver.protobuf.messages import Held, held
from control_plane.apiserver.schema.catalog import INT_OR_STRING, META, QUANTITY, ref_name
from control_plane.apiserver.schema.types import ANY, SCALARS, Field, Scalar, Shape, Type

_SPECIAL = {
    QUANTITY: SCALARS[Scalar.QUANTITY],
    INT_OR_STRING: SCALARS[Scalar.INT_OR_STRING],
    META + "Time": SCALARS[Scalar.TIME],
    META + "MicroTime": SCALARS[Scalar.MICRO_TIME],
    META + "FieldsV1": ANY,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": ANY,
}

_KEPT_EMPTY = frozenset(("managedFields",))
"""An empty list here is a request of its own (forget the managers)."""

_INTEGERS = {"int32": Scalar.INT32, "int64": Scalar.INT64}


class TypeBuilder:
    """Builds and keeps the types of one set of definitions."""

    def __init__(self, definitions: Mapping[str, JsonObject]) -> None:
        self._definitions = definitions
        self._types: dict[str, Type] = {}

    def definition(self, name: str) -> Type:
        """The type of a named definition. Raises KeyError."""
        special = _SPECIAL.get(name)
        if special is not None:
            return special
        known = self._types.get(name)
        if known is not None:
            return known
        schema = self._definitions[name]
        if "properties" not in schema and schema.get("type") != "object":
            # JSON, JSONSchemaPropsOrBool…: no type at all; or a named scalar.
            built = self.schema(schema)
            self._types[name] = built
            return built
        if "properties" not in schema:
            built = ANY if "additionalProperties" not in schema else self.schema(schema)
            self._types[name] = built
            return built
        built = Type(Shape.STRUCT, go_name(name), atomic=schema.get("x-kubernetes-map-type") == "atomic")
        self._types[name] = built
        self._fill(built, schema, held(name))
        return built

    def schema(self, schema: JsonObject) -> Type:
        """The type of an inline schema."""
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return self.definition(ref_name(reference))
        match schema.get("type"):
            case "string":
                return SCALARS[_string_scalar(str(schema.get("format", "")))]
            case "integer":
                return SCALARS[_INTEGERS.get(str(schema.get("format", "")), Scalar.INT64)]
            case "number":
                return SCALARS[Scalar.FLOAT]
            case "boolean":
                return SCALARS[Scalar.BOOL]
            case "array":
                return self._list(schema)
            case "object":
                return self._object(schema)
        return ANY

    def _list(self, schema: JsonObject) -> Type:
        element = self.schema(schema.get("items", {}))
        return Type(
            Shape.LIST,
            "[]" + element.go_name,
            element=element,
            list_type=str(schema.get("x-kubernetes-list-type", "atomic")),
            map_keys=tuple(schema.get("x-kubernetes-list-map-keys", ())),
        )

    def _object(self, schema: JsonObject) -> Type:
        atomic = schema.get("x-kubernetes-map-type") == "atomic"
        if "properties" in schema:
            built = Type(Shape.STRUCT, "struct", atomic=atomic)
            self._fill(built, schema, Held())
            return built
        elements = schema.get("additionalProperties")
        if isinstance(elements, dict):
            element = self.schema(elements)
            return Type(Shape.MAP, f"map[string]{element.go_name}", element=element, atomic=atomic)
        return ANY

    def _fill(self, built: Type, schema: JsonObject, go: Held) -> None:
        required = set(schema.get("required", ()))
        for name, item in schema["properties"].items():
            built_type = self.schema(item)
            strategies = str(item.get("x-kubernetes-patch-strategy", ""))
            built.fields[name] = Field(
                name=name,
                type=built_type,
                patch_strategies=frozenset(strategies.split(",")) if strategies else frozenset(),
                merge_key=str(item.get("x-kubernetes-patch-merge-key", "")),
                leaf=built_type.leaf or item.get("x-kubernetes-map-type") == "atomic",
                required=name in required,
                by_value=name in go.structs and built_type.shape is Shape.STRUCT,
                drop_zero=name in go.zeros and name not in required and name not in _KEPT_EMPTY,
            )


def _string_scalar(text_format: str) -> Scalar:
    match text_format:
        case "byte":
            return Scalar.BYTES
        case "int-or-string":
            return Scalar.INT_OR_STRING
        case "date-time":
            return Scalar.TIME
    return Scalar.STRING


def go_name(definition: str) -> str:
    """`io.k8s.api.core.v1.PodSpec` → `v1.PodSpec`."""
    return ".".join(definition.split(".")[-2:])
