"""OpenAPI definitions of custom resources, in a catalogue on top of that of the built-in kinds.

Upstream: apiextensions-apiserver `pkg/controller/openapi/builder`, and for v2 `pkg/controller/openapi/v2`: an older
document that cannot say everything says less.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from argosy.objects.types import JsonObject
from control_plane.apiserver.crd.structure import META_FIELDS
from control_plane.apiserver.crd.versions import CustomVersion
from control_plane.apiserver.schema.catalog import GVK, META, Catalog, reachable

_API_VERSION: Final = "The version of the schema of this object, as GROUP/VERSION."
_KIND: Final = "The kind of this object, in CamelCase. Cannot be updated."
_METADATA: Final = "Standard object's metadata."
_NOT_IN_V2: Final = ("anyOf", "oneOf", "allOf", "not", "default", "nullable", "example", "externalDocs")


class CustomCatalog(Catalog):
    """The definitions of `base`, and those of custom resources."""

    def __init__(self, base: Catalog, versions: Sequence[CustomVersion], *, old: bool) -> None:
        """`old`: as OpenAPI v2 has them."""
        self.custom = definitions(versions, old=old)
        super().__init__({**base.definitions, **self.custom}, base.path)
        self._base = base

    def with_descriptions(self, names: Iterable[str] | None = None) -> dict[str, JsonObject]:
        wanted = set(self.definitions if names is None else names)
        own = {name: self.custom[name] for name in wanted if name in self.custom}
        return self._base.with_descriptions(wanted - set(own)) | own

    def reachable(self, roots: Iterable[str]) -> set[str]:
        return reachable(self.definitions, roots)


def fingerprint(versions: Sequence[CustomVersion]) -> bytes:
    """Of all that the documents say of them."""
    digest = hashlib.sha256()
    for version in versions:
        kind = version.kind
        digest.update(repr((kind.group, kind.version, kind.kind, kind.plural, kind.list_kind)).encode())
        digest.update(orjson.dumps(version.node.schema))
    return digest.digest()


def definition_name(group: str, version: str, kind: str) -> str:
    """`com.example.stable.v1.CronTab`."""
    return ".".join((*reversed(group.split(".")), version, kind))


def definitions(versions: Sequence[CustomVersion], *, old: bool) -> dict[str, JsonObject]:
    """By name; each with its list's."""
    found: dict[str, JsonObject] = {}
    for version in versions:
        kind = version.kind
        name = definition_name(kind.group, kind.version, kind.kind)
        found[name] = _definition(version, old)
        found[definition_name(kind.group, kind.version, kind.list_kind)] = _list(version, name)
    return found


def _gvk(group: str, version: str, kind: str) -> list[JsonObject]:
    return [{"group": group, "kind": kind, "version": version}]


def _definition(version: CustomVersion, old: bool) -> JsonObject:
    kind = version.kind
    given = _old(version.node.schema) if old else version.node.schema
    return {**_resource(given), "type": "object", GVK: _gvk(kind.group, kind.version, kind.kind)}


def _resource(schema: JsonObject) -> JsonObject:
    """A schema of whole objects, with what all objects have."""
    own = {name: child for name, child in (schema.get("properties") or {}).items() if name not in META_FIELDS}
    properties: JsonObject = {
        "apiVersion": {"description": _API_VERSION, "type": "string"},
        "kind": {"description": _KIND, "type": "string"},
        "metadata": {"description": _METADATA, "$ref": f"#/definitions/{META}ObjectMeta"},
        **{name: _embedding(child) for name, child in own.items()},
    }
    return {**schema, "properties": properties}


def _embedding(schema: Any) -> Any:
    """Embedded resources have an object's fields too."""
    if isinstance(schema, list):
        return [_embedding(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _embedding(value) if key in _NESTED else value for key, value in schema.items()}
    if isinstance(found.get("properties"), dict):
        found["properties"] = {name: _embedding(child) for name, child in found["properties"].items()}
    return _resource(found) if found.get("x-kubernetes-embedded-resource") is True else found


_NESTED: Final = ("items", "additionalProperties", "allOf", "anyOf", "oneOf", "not")


def _list(version: CustomVersion, item: str) -> JsonObject:
    kind = version.kind
    return {
        "description": f"{kind.list_kind} is a list of {kind.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": _API_VERSION, "type": "string"},
            "items": {
                "description": f"List of {kind.plural}.",
                "type": "array",
                "items": {"$ref": f"#/definitions/{item}"},
            },
            "kind": {"description": _KIND, "type": "string"},
            "metadata": {"description": "Standard list metadata.", "$ref": f"#/definitions/{META}ListMeta"},
        },
        GVK: _gvk(kind.group, kind.version, kind.list_kind),
    }


def _old(schema: Any) -> Any:
    """A schema as v2 can say it."""
    if not isinstance(schema, dict):
        return schema
    found = {key: value for key, value in schema.items() if key not in _NOT_IN_V2}
    if schema.get("nullable") is True:
        for key in ("type", "items", "properties", "additionalProperties"):
            found.pop(key, None)
    if schema.get("x-kubernetes-int-or-string") is True:
        found.pop("type", None)
    if schema.get("x-kubernetes-preserve-unknown-fields") is True:
        for key in ("items", "properties"):
            found.pop(key, None)
    if isinstance(found.get("properties"), dict):
        found["properties"] = {name: _old(child) for name, child in found["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = _old(found[key])
    return found
