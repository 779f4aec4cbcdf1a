"""The OpenAPI documents, made when first asked for: they are large and many clusters never need them."""

from __future__ import annotations

from collections.abc import Sequence

from argosy.kinds.kind import Kind
from control_plane.apiserver.openapi import OpenApi
from control_plane.apiserver.schema.catalog import Catalog


class Documents:
    def __init__(self, kinds: Sequence[Kind], catalog: Catalog) -> None:
        self._kinds = tuple(kinds)
        self._catalog = catalog
        self._made: OpenApi | None = None

    def get(self) -> OpenApi:
        if self._made is None:
            self._made = OpenApi(self._kinds, self._catalog)
        return self._made
