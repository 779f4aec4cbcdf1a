"""The compiled schema of a kind: what the pipeline, the patches and managed fields ask.

`Schemas` is made once per API server from a `Catalog`; kinds are compiled when first asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from argosy.objects import status
from argosy.objects.status import ApiError, CauseType, FieldError
from argosy.objects.types import JsonObject
from control_plane.apiserver.schema import checks
from control_plane.apiserver.schema.build import TypeBuilder
from control_plane.apiserver.schema.catalog import Catalog
from control_plane.apiserver.schema.checks import CheckCompiler
from control_plane.apiserver.schema.types import Shape, Type


@dataclass(slots=True)
class CheckResult:
    """What one pass found; the object itself was pruned and normalised in place."""

    errors: list[FieldError] = field(default_factory=list)
    """Values that cannot be decoded: `field` is the JSON path, `message` the decoder's text."""
    unknown: list[str] = field(default_factory=list)
    """`unknown field "spec.foo"`, in the object's order."""


class Compiled:
    """One kind in one version."""

    def __init__(self, group: str, version: str, kind: str, root: Type, check: checks.Check) -> None:
        self.group = group
        self.version = version
        self.kind = kind
        self.type = root
        """Strategic-merge metadata, list types and map keys."""
        self.status_apart = True
        """Whether status, where there is one, has a subresource of its own."""
        self.zero = zero_of(root)
        """What Go makes of no object at all: the structs that are held by value. Not to be changed."""
        self._check = check

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def check(self, obj: JsonObject) -> CheckResult:
        """Prune, normalise and check a private object, in place."""
        result = CheckResult()
        for finding in self._check(obj) or ():
            path = checks.path_text(finding.path)
            if finding.message or finding.go_type:
                result.errors.append(FieldError(CauseType.TYPE_INVALID, path, checks.decoder_message(finding)))
            elif len(result.unknown) < checks.MAX_UNKNOWN:
                result.unknown.append(f'unknown field "{path}"')
        return result

    def decode_error(self, message: str) -> ApiError:
        """400: this body cannot be handled as this kind."""
        return status.bad_request(
            f'{self.kind} in version "{self.version}" cannot be handled as a {self.kind}: {message}'
        )

    def strict_error(self, problems: Sequence[str]) -> ApiError:
        """400: fieldValidation=Strict and unknown or duplicate fields."""
        return self.decode_error(strict_message(problems))

    def decoded(self, obj: JsonObject) -> list[str]:
        """Check the object of a create or update; gives the unknown fields. Raises the 400 of a wrong type."""
        result = self.check(obj)
        if result.errors:
            raise self.decode_error(result.errors[0].message)
        return result.unknown


def strict_message(problems: Sequence[str]) -> str:
    """Upstream's strict decoding error of unknown and duplicate fields."""
    return "strict decoding error: " + ", ".join(problems[: checks.MAX_UNKNOWN])


def patch_error(message: str, patched: str) -> ApiError:
    """422 of a patch whose result cannot be decoded, or is not strict: cause `patch`."""
    return status.invalid("", "", "", [status.invalid_value("patch", patched, message)])


def zero_of(root: Type) -> JsonObject:
    """Empty values of what an object always has: structs held by value, and lists that are always written."""
    zero: JsonObject = {}
    for name, item in root.fields.items():
        if item.by_value:
            zero[name] = zero_of(item.type)
        elif item.required and item.type.shape is Shape.LIST:
            zero[name] = []
    return zero


class Schemas:
    """Compiled kinds by (group, version, kind)."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._types = TypeBuilder(catalog.definitions)
        self._checks = CheckCompiler()
        self._kinds: dict[tuple[str, str, str], Compiled] = {}

    def put(self, compiled: Compiled) -> None:
        """Know a kind that the catalogue does not have, or has otherwise: one of a custom resource."""
        self._kinds[compiled.group, compiled.version, compiled.kind] = compiled

    def remove(self, group: str, version: str, kind: str) -> None:
        self._kinds.pop((group, version, kind), None)

    def definition(self, name: str) -> tuple[Type, checks.Check]:
        """A struct of the catalogue and its check. Raises KeyError."""
        built = self._types.definition(name)
        return built, self._checks.struct(built)

    def for_kind(self, group: str, version: str, kind: str) -> Compiled:
        """The compiled kind. Raises KeyError when the catalogue does not have it."""
        key = (group, version, kind)
        known = self._kinds.get(key)
        if known is not None:
            return known
        name = self.catalog.name_of(group, version, kind)
        if name is None:
            raise KeyError(f"no schema for {kind} in {group or 'core'}/{version}")
        root = self._types.definition(name)
        compiled = Compiled(group, version, kind, root, self._checks.struct(root))
        self._kinds[key] = compiled
        return compiled
