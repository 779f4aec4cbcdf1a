"""The OpenAPI documents of everything: our own, with what aggregated servers tell of their groups.

v3 lists each group's document, and a remote one is fetched from where it is; v2 is one document for all
(k8s.io/kube-aggregator `pkg/controllers/openapi/aggregator`). A definition that both have stays ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import orjson

from argosy.objects.types import JsonObject
from control_plane.apiserver.aggregation.documents import Documents
from control_plane.apiserver.aggregation.services import ApiServices


class OpenApiDocuments(Protocol):
    """What `openapi.OpenApi` gives."""

    def v3_root(self) -> bytes: ...

    def v3_group(self, path: str) -> tuple[bytes, str]: ...

    def v2_json(self) -> bytes: ...

    def v2_protobuf(self) -> bytes: ...


class MergedOpenApi:
    def __init__(self, own: Callable[[], OpenApiDocuments], services: ApiServices, documents: Documents) -> None:
        self._own = own
        self._services = services
        self._documents = documents
        self._merged: tuple[object, bytes, bytes] = (None, b"", b"")

    def v3_root(self) -> bytes:
        body = self._own().v3_root()
        found = {
            remote.path.strip("/"): {"serverRelativeURL": url}
            for remote in self._services.remotes.values()
            if (url := self._documents.known(remote).openapi_v3)
        }
        if not found:
            return body
        root = orjson.loads(body)
        listed = {**root["paths"], **found}
        return orjson.dumps({**root, "paths": dict(sorted(listed.items()))})

    def v3_group(self, path: str) -> tuple[bytes, str]:
        """Of this server's own. Raises KeyError for another."""
        return self._own().v3_group(path)

    def v2_json(self) -> bytes:
        body = self._own().v2_json()
        return self._merge(body)[1] if self._documents.openapi_v2() else body

    def v2_protobuf(self) -> bytes:
        own = self._own()
        if not self._documents.openapi_v2():
            return own.v2_protobuf()
        merged = self._merge(own.v2_json())
        if not merged[2]:
            from control_plane.apiserver.openapi import gnostic

            merged = self._merged = (merged[0], merged[1], gnostic.encode(orjson.loads(merged[1])))
        return merged[2]

    def _merge(self, body: bytes) -> tuple[object, bytes, bytes]:
        """Made anew when what either said has changed."""
        key = (self._documents.version, len(body), hash(body))
        if self._merged[0] != key:
            prefixes = tuple(f"{remote.path}/" for remote in self._services.remotes.values())
            document = orjson.loads(body)
            for other in self._documents.openapi_v2():
                _add(document, other, prefixes)
            self._merged = (key, orjson.dumps(document), b"")
        return self._merged


def _add(document: JsonObject, other: JsonObject, prefixes: tuple[str, ...]) -> None:
    """The paths of aggregated groups, and the definitions that are new, in place."""
    for path, item in other["paths"].items():
        if f"{path}/".startswith(prefixes):
            document["paths"][path] = item
    for name, definition in other["definitions"].items():
        document["definitions"].setdefault(name, definition)
