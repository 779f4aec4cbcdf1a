"""The OpenAPI documents, made when first asked for: they are large and many clusters never need them.

Those of the built-in kinds stay; those of custom resources are made anew after one came, went or changed. v3 has a
document per group and version, so that both stand side by side; v2 is one document of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from argosy.kinds.kind import Kind
from control_plane.apiserver.crd.openapi import CustomCatalog, fingerprint
from control_plane.apiserver.crd.versions import CustomVersion
from control_plane.apiserver.openapi import OpenApi
from control_plane.apiserver.resources import Resources
from control_plane.apiserver.schema.catalog import Catalog


class Documents:
    def __init__(
        self,
        kinds: Sequence[Kind],
        catalog: Catalog,
        resources: Resources,
        custom: Callable[[], Sequence[CustomVersion]],
    ) -> None:
        self._kinds = tuple(kinds)
        self._catalog = catalog
        self._resources = resources
        self._custom = custom
        self._builtin: OpenApi | None = None
        self._made: CombinedOpenApi | None = None
        self._generation = -1

    def get(self) -> CombinedOpenApi:
        if self._builtin is None:
            self._builtin = OpenApi(self._kinds, self._catalog)
        if self._made is None or self._generation != self._resources.generation:
            self._generation = self._resources.generation
            self._made = CombinedOpenApi(self._builtin, self._kinds, self._catalog, self._custom())
        return self._made


class CombinedOpenApi:
    """Documents of the built-in kinds and of some custom ones."""

    def __init__(
        self, builtin: OpenApi, kinds: tuple[Kind, ...], catalog: Catalog, versions: Sequence[CustomVersion]
    ) -> None:
        self._builtin = builtin
        self._kinds = kinds
        self._catalog = catalog
        self._versions = tuple(versions)
        self._custom: OpenApi | None = None
        self._everything: OpenApi | None = None
        if versions:
            custom = [version.kind for version in versions]
            mark = fingerprint(versions)
            self._custom = OpenApi(custom, CustomCatalog(catalog, versions, old=False), mark)
            self._everything = OpenApi((*kinds, *custom), CustomCatalog(catalog, versions, old=True), mark)

    def v3_root(self) -> bytes:
        if self._custom is None:
            return self._builtin.v3_root()
        paths = orjson.loads(self._builtin.v3_root())["paths"] | orjson.loads(self._custom.v3_root())["paths"]
        return orjson.dumps({"paths": {path: paths[path] for path in sorted(paths)}})

    def v3_group(self, path: str) -> tuple[bytes, str]:
        """Raises KeyError for another path."""
        if self._custom is not None and self._custom.has(path):
            return self._custom.v3_group(path)
        return self._builtin.v3_group(path)

    def v2_json(self) -> bytes:
        return (self._everything or self._builtin).v2_json()

    def v2_protobuf(self) -> bytes:
        return (self._everything or self._builtin).v2_protobuf()

    def v2_hash(self) -> str:
        return (self._everything or self._builtin).v2_hash()
