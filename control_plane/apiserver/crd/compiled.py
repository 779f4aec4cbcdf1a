"""The compiled schema of one version of a custom resource: what decoding does to its objects.

Upstream's decoder of custom resources knows metadata, and drops what the schema does not have; everything else is
said by validation, as 422. Upstream: `pkg/apiserver/customresource_handler.go` (unstructuredSchemaCoercer).
"""

from __future__ import annotations

from typing import Any, Final

from argosy.kinds.kind import Kind
from argosy.objects.types import JsonObject
from control_plane.apiserver.crd import shape, types
from control_plane.apiserver.crd.structure import Node
from control_plane.apiserver.schema.checks import Check, Finding, Findings
from control_plane.apiserver.schema.schemas import CheckResult, Compiled, Schemas

OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class CustomCompiled(Compiled):
    def __init__(self, kind: Kind, node: Node, schemas: Schemas) -> None:
        metadata, check = schemas.definition(OBJECT_META)
        root = types.root(node, metadata)
        super().__init__(kind.group, kind.version, kind.kind, root, _metadata_check(check))
        self.status_apart = kind.has_status
        self.zero = {"metadata": {}}
        self.node = node

    def check(self, obj: JsonObject) -> CheckResult:
        result = super().check(obj)
        result.unknown += [f'unknown field "{path}"' for path in shape.prune(obj, self.node)]
        return result


def _metadata_check(check: Check) -> Check:
    def checked(obj: dict[str, Any]) -> Findings:
        metadata = obj.get("metadata")
        if metadata is None:
            obj.pop("metadata", None)
            return None
        if not isinstance(metadata, dict):
            kind = {str: "string", bool: "bool", list: "array"}.get(type(metadata), "number")
            return [Finding(["metadata"], value=kind, go_type="v1.ObjectMeta", struct="PartialObjectMetadata")]
        found = check(metadata)
        for finding in found or ():
            finding.path.insert(0, "metadata")
        return found

    return checked
