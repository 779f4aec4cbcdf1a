"""OpenAPI v3 documents, one per group and version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from argosy.objects.types import JsonObject
from control_plane.apiserver.openapi.operations import QUERY_TYPES, GroupVersionKind, Operation
from control_plane.apiserver.schema.catalog import INT_OR_STRING, QUANTITY, Catalog, ref_name

_MEDIA = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_STREAM = "application/json;stream=watch"


def document(
    catalog: Catalog, operations: Sequence[Operation], definitions: Mapping[str, JsonObject], release: str
) -> JsonObject:
    """The document of one group and version."""
    paths: dict[str, JsonObject] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(catalog, operation)
    for item in paths.values():
        item["parameters"] = _path_parameters(item)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": f"v{release}.0"},
        "paths": paths,
        "components": {
            "schemas": {name: _component(name, definition) for name, definition in definitions.items()},
            "securitySchemes": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
        },
    }


def _path_parameters(item: JsonObject) -> list[JsonObject]:
    """The parameters that all methods of a path share; `pretty` is everywhere."""
    names: dict[str, None] = {}
    for operation in list(item.values()):
        for name in operation.pop("_path"):
            names.setdefault(name)
    shared = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}
        for name in names
    ]
    return [*shared, {"name": "pretty", "in": "query", "schema": {"type": "string", "uniqueItems": True}}]


def _reference(catalog: Catalog, wanted: GroupVersionKind) -> JsonObject:
    group, version, kind = wanted
    name = catalog.name_of(group, version, kind)
    if name is None and kind == "Patch":
        name = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
    if name is None or name not in catalog.definitions:
        return {"type": "object"}
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(catalog: Catalog, operation: Operation) -> JsonObject:
    group, version, kind = operation.about
    result: JsonObject = {
        "tags": [operation.tag],
        "operationId": operation.id,
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": QUERY_TYPES.get(name, "string"), "uniqueItems": True}}
            for name in operation.query
        ],
        "responses": {"200": _response(catalog, operation), "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
        "_path": operation.path_parameters,
    }
    if operation.body is not None:
        schema = _reference(catalog, operation.body)
        result["requestBody"] = {
            "content": {media: {"schema": schema} for media in operation.consumes},
            **({} if operation.method == "delete" else {"required": True}),
        }
    return result


def _response(catalog: Catalog, operation: Operation) -> JsonObject:
    if operation.result is None:
        return {"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}}
    schema = _reference(catalog, operation.result)
    media = (*_MEDIA, _STREAM) if operation.action == "list" else _MEDIA
    return {"description": "OK", "content": {name: {"schema": schema} for name in media}}


def _component(name: str, definition: JsonObject) -> JsonObject:
    if name == INT_OR_STRING:
        return {"oneOf": [{"type": "integer"}, {"type": "string"}]} | _untyped(definition)
    if name == QUANTITY:
        return {"oneOf": [{"type": "string"}, {"type": "number"}]} | _untyped(definition)
    schema: JsonObject = convert(definition)
    return schema


def _untyped(definition: JsonObject) -> JsonObject:
    return {key: value for key, value in definition.items() if key in ("description", "format")}


def convert(node: Any) -> Any:
    """A v2 schema as v3: references of another root, and wrapped where they have company."""
    if isinstance(node, list):
        return [convert(item) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        target = {"$ref": "#/components/schemas/" + ref_name(reference)}
        if len(node) == 1:
            return target
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return {"allOf": [target], **rest}
    return {key: convert(value) for key, value in node.items()}
