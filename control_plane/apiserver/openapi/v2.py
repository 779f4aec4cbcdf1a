"""The OpenAPI v2 (Swagger) document of the whole API, for older clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argosy.objects.types import JsonObject
from control_plane.apiserver.openapi.operations import QUERY_TYPES, GroupVersionKind, Operation
from control_plane.apiserver.schema.catalog import Catalog

_MEDIA = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]


def document(
    catalog: Catalog, operations: Sequence[Operation], definitions: Mapping[str, JsonObject], release: str
) -> JsonObject:
    """One document for every group and version."""
    paths: dict[str, JsonObject] = {}
    for operation in operations:
        item = paths.setdefault(operation.path, {})
        item[operation.method] = _operation(catalog, operation)
        item.setdefault("parameters", _path_parameters(operation))
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": f"v{release}.0"},
        "paths": paths,
        "definitions": dict(definitions),
        "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
        "security": [{"BearerToken": []}],
    }


def _path_parameters(operation: Operation) -> list[JsonObject]:
    return [
        {"name": name, "in": "path", "required": True, "type": "string", "uniqueItems": True}
        for name in operation.path_parameters
    ]


def _reference(catalog: Catalog, wanted: GroupVersionKind) -> JsonObject:
    group, version, kind = wanted
    name = catalog.name_of(group, version, kind)
    if name is None and kind == "Patch":
        name = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
    if name is None or name not in catalog.definitions:
        return {"type": "object"}
    return {"$ref": f"#/definitions/{name}"}


def _operation(catalog: Catalog, operation: Operation) -> JsonObject:
    group, version, kind = operation.about
    parameters: list[JsonObject] = []
    if operation.body is not None:
        body: JsonObject = {"name": "body", "in": "body", "schema": _reference(catalog, operation.body)}
        parameters.append(body if operation.method == "delete" else {**body, "required": True})
    parameters.extend(
        {"name": name, "in": "query", "type": QUERY_TYPES.get(name, "string"), "uniqueItems": True}
        for name in operation.query
    )
    schema = {"type": "string"} if operation.result is None else _reference(catalog, operation.result)
    return {
        "consumes": list(operation.consumes),
        "produces": _MEDIA,
        "schemes": ["https"],
        "tags": [operation.tag],
        "operationId": operation.id,
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "schema": schema}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    }
