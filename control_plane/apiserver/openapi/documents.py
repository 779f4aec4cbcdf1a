"""The OpenAPI documents that the API server serves, made when first asked for and kept as bytes.

The hash in v3's root decides what clients cache for ever, so it covers everything a document depends on, without
making the document: the definitions' release and size, the kinds, and this package's own source.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import orjson

from argosy.kinds.kind import Kind
from argosy.objects.types import JsonObject
from control_plane.apiserver.openapi import gnostic, v2, v3
from control_plane.apiserver.openapi.operations import Operation, group_path, group_versions, operations, served_as
from control_plane.apiserver.schema.catalog import ALWAYS, Catalog, served

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""Content type of `v2_protobuf`; clients ask for it with an @ before the version."""


class OpenApi:
    """Documents of a fixed set of kinds."""

    def __init__(self, kinds: Sequence[Kind], catalog: Catalog, mark: bytes = b"") -> None:
        """`mark` stands for what the hashes must cover beyond the kinds themselves."""
        self._kinds = kinds
        self._catalog = catalog
        self._release = catalog.release
        self._groups = {group_path(group, version): (group, version) for group, version in group_versions(kinds)}
        self._seed = self._fingerprint() + mark
        self._root = b""
        self._v3: dict[str, bytes] = {}
        self._v2_json = b""
        self._v2_protobuf = b""

    def has(self, path: str) -> bool:
        return path in self._groups

    def v3_root(self) -> bytes:
        """`/openapi/v3`: where each group's document is, with its hash."""
        if not self._root:
            paths = {
                path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self._hash(path)}"}
                for path in sorted(self._groups)
            }
            self._root = orjson.dumps({"paths": paths})
        return self._root

    def v3_group(self, path: str) -> tuple[bytes, str]:
        """(`/openapi/v3/{path}`'s body, its hash) for a path such as `api/v1`. Raises KeyError for another."""
        group, version = self._groups[path]
        body = self._v3.get(path)
        if body is None:
            found = operations(self._kinds, group, version)
            kinds = [kind for kind in self._kinds if (group, version) in served_as(kind)]
            roots = {
                name
                for gvk in served(kinds)
                if (gvk[:2] == (group, version) or self._is_body(gvk, found))
                and (name := self._catalog.name_of(*gvk)) is not None
            }
            definitions = self._definitions(roots)
            body = orjson.dumps(v3.document(self._catalog, found, definitions, self._release))
            self._v3[path] = body
        return body, self._hash(path)

    def v2_json(self) -> bytes:
        """`/openapi/v2`."""
        if not self._v2_json:
            self._v2_json = orjson.dumps(self._v2())
        return self._v2_json

    def v2_protobuf(self) -> bytes:
        """`/openapi/v2` for clients that ask for protobuf."""
        if not self._v2_protobuf:
            self._v2_protobuf = gnostic.encode(self._v2())
        return self._v2_protobuf

    def v2_hash(self) -> str:
        """For the ETag of both v2 forms."""
        return self._hash("v2")

    def _v2(self) -> JsonObject:
        found: list[Operation] = []
        for group, version in self._groups.values():
            found.extend(operations(self._kinds, group, version))
        roots = {name for gvk in served(self._kinds) if (name := self._catalog.name_of(*gvk)) is not None}
        return v2.document(self._catalog, found, self._definitions(roots), self._release)

    @staticmethod
    def _is_body(gvk: tuple[str, str, str], found: Sequence[Operation]) -> bool:
        return any(gvk in (operation.about, operation.body, operation.result) for operation in found)

    def _definitions(self, roots: set[str]) -> dict[str, JsonObject]:
        names = self._catalog.reachable({*roots, *ALWAYS})
        definitions = self._catalog.with_descriptions(names)
        return {name: definitions[name] for name in sorted(definitions)}

    def _hash(self, path: str) -> str:
        return hashlib.sha256(self._seed + path.encode()).hexdigest().upper()

    def _fingerprint(self) -> bytes:
        digest = hashlib.sha256()
        digest.update(f"{self._release} {os.path.getsize(self._catalog.path)}".encode())
        for kind in self._kinds:
            versions = [(v.group, v.version) for v in kind.versions]
            digest.update(
                repr(
                    (kind.group, kind.version, kind.kind, kind.plural, kind.namespaced, kind.verbs, versions)
                ).encode()
            )
            digest.update(repr([(s.name, s.group, s.version, s.kind, s.verbs) for s in kind.subresources]).encode())
        folder = os.path.dirname(__file__)
        for name in sorted(os.listdir(folder)):
            if name.endswith(".py"):
                with open(os.path.join(folder, name), "rb") as file:
                    digest.update(file.read())
        return digest.digest()
