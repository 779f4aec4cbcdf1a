"""The rules of CustomResourceDefinitions that need compiling: schemas, defaults, CEL; as an admission plug-in.

Also decodes the schemas that stand where upstream's types are unions (`items`, `additionalProperties`…), which the
catalogue's schema of this kind says nothing about.
"""

from __future__ import annotations

from typing import Any, Final

from argosy.objects import meta
from argosy.objects import status as errors
from argosy.objects.status import FieldError
from argosy.objects.types import JsonObject
from control_plane.apiserver.admission.chain import Attributes, Operation, Plugin
from control_plane.apiserver.crd.formats import is_known
from control_plane.apiserver.crd.names import APPROVAL, is_protected
from control_plane.apiserver.crd.schema_rules import check_version
from control_plane.apiserver.schema.checks import Check, decoder_message
from control_plane.apiserver.schema.schemas import Schemas

SCHEMA: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
MAX_WARNINGS: Final = 20
_LISTS: Final = ("allOf", "anyOf", "oneOf")
_ONES: Final = ("items", "additionalProperties", "not", "additionalItems")
_MAPS: Final = ("properties", "patternProperties", "definitions", "dependencies")


class CustomResourceDefinitions(Plugin):
    name = "CustomResourceDefinitions"

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    async def mutate(self, attributes: Attributes) -> None:
        """Raises ApiError 400 for a schema that cannot be decoded."""
        if attributes.obj is None or not _concerned(attributes):
            return
        _, check = self._schemas.definition(SCHEMA)
        for version in meta.spec(attributes.obj).get("versions") or ():
            schema = (version.get("schema") or {}).get("openAPIV3Schema")
            if isinstance(schema, dict):
                _decode_nested(schema, check, 0)

    async def validate(self, attributes: Attributes) -> None:
        """Raises ApiError 422."""
        if attributes.obj is None or attributes.operation is Operation.DELETE or not _concerned(attributes):
            return
        crd, old = attributes.obj, attributes.old
        found = _approval(crd)
        before = {each.get("name"): each for each in meta.spec(old or {}).get("versions") or ()}
        for index, version in enumerate(meta.spec(crd).get("versions") or ()):
            if before.get(version.get("name")) == version:
                continue
            found += check_version(version, f"spec.versions[{index}]")
            for name in _unknown_formats((version.get("schema") or {}).get("openAPIV3Schema"), 0)[:MAX_WARNINGS]:
                attributes.request.warn(f'unrecognized format "{name}"')
        if found:
            raise errors.invalid("apiextensions.k8s.io", "CustomResourceDefinition", meta.name(crd), found)


def _concerned(attributes: Attributes) -> bool:
    return attributes.is_for("apiextensions.k8s.io", "customresourcedefinitions")


def _approval(crd: JsonObject) -> list[FieldError]:
    """Kubernetes' own groups are guarded (KEP-1111)."""
    group = str(meta.spec(crd).get("group", ""))
    if not is_protected(group):
        return []
    path = f"metadata.annotations[{APPROVAL}]"
    given = meta.annotations(crd).get(APPROVAL, "")
    if not given:
        detail = (
            f'protected groups must have approval annotation "{APPROVAL}", see '
            "https://github.com/kubernetes/enhancements/pull/1111"
        )
        return [errors.required(path, detail)]
    if given.startswith(("https://", "http://", "unapproved")):
        return []
    detail = (
        f'protected groups must have approval annotation "{APPROVAL}" with either a URL or a reason starting with '
        '"unapproved", see https://github.com/kubernetes/enhancements/pull/1111'
    )
    return [errors.invalid_value(path, given, detail)]


def _decode_nested(schema: dict[str, Any], check: Check, depth: int) -> None:
    """What the decoder of the whole object left alone, in place; the depth of bodies bounds it."""
    for name in ("items", "additionalProperties", "additionalItems", "dependencies"):
        for nested in _schemas_of(schema.get(name), name):
            found = check(nested)
            for finding in found or ():
                if finding.message or finding.go_type:
                    text = f"CustomResourceDefinition cannot be handled: {decoder_message(finding)}"
                    raise errors.bad_request(text)
    for name in (*_LISTS, *_ONES, *_MAPS):
        for nested in _schemas_of(schema.get(name), name):
            _decode_nested(nested, check, depth + 1)


def _schemas_of(value: Any, name: str) -> list[dict[str, Any]]:
    if name in _MAPS:
        return [each for each in value.values() if isinstance(each, dict)] if isinstance(value, dict) else []
    if isinstance(value, list):
        return [each for each in value if isinstance(each, dict)]
    return [value] if isinstance(value, dict) else []


def _unknown_formats(schema: Any, depth: int) -> list[str]:
    if not isinstance(schema, dict) or depth > 200:
        return []
    name = schema.get("format")
    found = [name] if isinstance(name, str) and not is_known(name) else []
    for key in (*_LISTS, *_ONES, *_MAPS):
        for nested in _schemas_of(schema.get(key), key):
            found += [each for each in _unknown_formats(nested, depth + 1) if each not in found]
    return found
