"""Upstream's API definitions, restored at run time from the PyPI package kubernetes-validate.

The package carries the OpenAPI definitions of every Kubernetes release, changed in a few mechanical ways (nullable
types, another $ref root, injected enums, two rewritten scalars); `restore` turns that back, exactly but for two
descriptions. The catalogue keeps only what the served kinds reach, and without descriptions; OpenAPI documents
reread the file for those. The package is located, not imported: importing it costs a quarter of a second.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from argosy.kinds.kind import Kind
from argosy.objects.types import JsonObject

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
GVK = "x-kubernetes-group-version-kind"

ALWAYS = (
    META + "Status",
    META + "DeleteOptions",
    META + "APIResourceList",
    META + "APIGroupList",
    META + "APIGroup",
    META + "APIVersions",
    META + "Patch",
    META + "WatchEvent",
    "io.k8s.apimachinery.pkg.version.Info",
)
"""Definitions that every API server speaks, whatever kinds it serves."""

RELEASE: Final = (1, 36)
"""The Kubernetes whose API this is: /version says so, and the schemas are its, whatever newer ones are installed."""
_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)-local")

GroupVersionKind = tuple[str, str, str]


class Catalog:
    """Definitions by name, and the names by (group, version, kind)."""

    def __init__(self, definitions: dict[str, JsonObject], path: str) -> None:
        self.definitions = definitions
        """Restored, without descriptions. Not to be changed."""
        self.path = path
        self.release = _release(path)
        """`1.37`: the Kubernetes release of the definitions."""
        self._by_gvk: dict[GroupVersionKind, str] = {}
        for name, definition in definitions.items():
            for gvk in definition.get(GVK, ()):
                key = (gvk["group"], gvk["version"], gvk["kind"])
                # Meta kinds (DeleteOptions, WatchEvent) are listed under every group: the same definition.
                self._by_gvk.setdefault(key, name)

    @classmethod
    def load(cls, kinds: Sequence[Kind] | None = None, path: str | None = None) -> Catalog:
        """The definitions that `kinds` (default: every kind of the release) reach.

        Raises RuntimeError when kubernetes-validate is not installed.
        """
        path = path or release_definitions()
        everything = restore(_read(path), descriptions=False)
        if kinds is None:
            return cls(everything, path)
        whole = cls(everything, path)
        roots = {name for gvk in served(kinds) if (name := whole.name_of(*gvk)) is not None}
        roots.update(name for name in ALWAYS if name in everything)
        return cls({name: everything[name] for name in sorted(reachable(everything, roots))}, path)

    def name_of(self, group: str, version: str, kind: str) -> str | None:
        """The definition's name, or None for a kind that upstream does not have."""
        return self._by_gvk.get((group, version, kind))

    def with_descriptions(self, names: Iterable[str] | None = None) -> dict[str, JsonObject]:
        """The named definitions (default: all of the catalogue) with their descriptions, read anew."""
        wanted = set(self.definitions if names is None else names)
        raw = _read(self.path)
        return restore({name: raw[name] for name in raw if name in wanted}, descriptions=True)

    def reachable(self, roots: Iterable[str]) -> set[str]:
        return reachable(self.definitions, roots)


def release_definitions() -> str:
    """The path of the definitions of `RELEASE`, in its newest patch. Raises RuntimeError."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package kubernetes-validate is not installed: pip install 'argosy[cluster]'")
    root = os.path.join(next(iter(spec.submodule_search_locations)), "kubernetes-json-schema")
    found: list[tuple[int, str]] = []
    for entry in os.listdir(root):
        match = _VERSION.fullmatch(entry)
        if match and (int(match[1]), int(match[2])) == RELEASE:
            found.append((int(match[3]), entry))
    if not found:
        major, minor = RELEASE
        raise RuntimeError(f"no definitions of Kubernetes {major}.{minor} under {root}")
    return os.path.join(root, max(found)[1], "_definitions.json")


def served(kinds: Iterable[Kind]) -> set[GroupVersionKind]:
    """Every (group, version, kind) that clients may send or get, with lists and subresources."""
    result: set[GroupVersionKind] = set()
    for kind in kinds:
        versions = {(kind.group, kind.version)}
        versions.update((kind.group if v.group is None else v.group, v.version) for v in kind.versions)
        for group, version in versions:
            result.add((group, version, kind.kind))
            result.add((group, version, kind.list_kind))
        result.update((sub.group, sub.version, sub.kind) for sub in kind.subresources)
    return result


def reachable(definitions: dict[str, JsonObject], roots: Iterable[str]) -> set[str]:
    """The closure of `roots` under $ref."""
    seen: set[str] = set()
    todo = [name for name in roots if name in definitions]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(_references(definitions[name]))
    return seen


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        target = node.get("$ref")
        if isinstance(target, str):
            yield ref_name(target)
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def ref_name(reference: str) -> str:
    """`#/definitions/NAME` → NAME."""
    return reference.rpartition("/")[2]


def restore(raw: dict[str, JsonObject], *, descriptions: bool) -> dict[str, JsonObject]:
    """Upstream's OpenAPI v2 definitions of the package's JSON schemas."""
    result = {name: _restored(definition, descriptions) for name, definition in raw.items()}
    for definition in result.values():
        if GVK in definition:
            for injected in ("apiVersion", "kind"):
                definition.get("properties", {}).get(injected, {}).pop("enum", None)
    if QUANTITY in result:
        result[QUANTITY] = _described({"type": "string"}, descriptions, _QUANTITY_TEXT)
    if INT_OR_STRING in result:
        result[INT_OR_STRING] = _described({"type": "string", "format": "int-or-string"}, descriptions, _INT_TEXT)
    return result


_QUANTITY_TEXT = "Quantity is a fixed-point number such as 500m, 1.5, 64Mi or 1e3."
_INT_TEXT = "IntOrString is an integer or a string, such as a port's number or name, or a percentage."


def _described(definition: JsonObject, wanted: bool, text: str) -> JsonObject:
    return {"description": text, **definition} if wanted else definition


def _restored(node: Any, descriptions: bool) -> Any:
    if isinstance(node, list):
        return [_restored(item, descriptions) for item in node]
    if not isinstance(node, dict):
        return node
    result: JsonObject = {}
    for key, value in node.items():
        if key == "$ref" and isinstance(value, str):
            result[key] = "#/definitions/" + ref_name(value)
        elif key == "type" and isinstance(value, list):
            kinds = [item for item in value if item != "null"]
            result[key] = kinds[0] if len(kinds) == 1 else kinds
        elif key == "description" and isinstance(value, str) and not descriptions:
            continue
        else:
            result[key] = _restored(value, descriptions)
    return result


def _read(path: str) -> dict[str, JsonObject]:
    with open(path, "rb") as file:
        definitions: dict[str, JsonObject] = orjson.loads(file.read())["$defs"]
    return definitions


def _release(path: str) -> str:
    match = _VERSION.search(path)
    return f"{match[1]}.{match[2]}" if match else ""
