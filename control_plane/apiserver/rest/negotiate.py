"""Accept headers: JSON, and what a client wants it to be made into (Table, PartialObjectMetadata, discovery)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from argosy.objects import status as errors

JSON = "application/json"
YAML = "application/yaml"
_ANY = ("*/*", "application/*", JSON)


class Form(Enum):
    PLAIN = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"
    PARTIAL_LIST = "PartialObjectMetadataList"
    DISCOVERY = "APIGroupDiscoveryList"


@dataclass(frozen=True)
class Wanted:
    form: Form = Form.PLAIN
    version: str = ""
    """Of the form: v1, v1beta1, v2, v2beta1."""
    media: str = JSON


@dataclass(frozen=True)
class _Clause:
    media: str
    parameters: dict[str, str]
    weight: float


def _weight(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0


def _clauses(accept: str) -> list[_Clause]:
    """The most wanted first (`q`), then as they stand."""
    found: list[_Clause] = []
    for text in accept.split(","):
        media, *rest = (part.strip() for part in text.split(";"))
        if not media:
            continue
        parameters: dict[str, str] = {}
        for part in rest:
            key, _, value = part.partition("=")
            parameters[key.strip().lower()] = value.strip().strip('"')
        found.append(_Clause(media.lower(), parameters, _weight(parameters.get("q", "1"))))
    return sorted((clause for clause in found if clause.weight), key=lambda clause: -clause.weight)


def _acceptable(media: str, allowed: Sequence[Form]) -> errors.ApiError:
    text = "only the following media types are accepted: application/json, application/yaml"
    if Form.TABLE in allowed:
        text += ", application/json;as=Table;g=meta.k8s.io;v=v1"
    return errors.status_error(406, "NotAcceptable", text)


def negotiate(accept: str, allowed: Sequence[Form]) -> Wanted:
    """The first clause that can be served. Raises ApiError 406."""
    if not accept.strip():
        return Wanted()
    clauses = _clauses(accept)
    for clause in clauses:
        if clause.media not in _ANY and clause.media != YAML:
            continue
        media = YAML if clause.media == YAML else JSON
        wanted = clause.parameters.get("as", "")
        if not wanted:
            return Wanted(media=media)
        group, version = clause.parameters.get("g", ""), clause.parameters.get("v", "")
        for form in allowed:
            if form.value != wanted:
                continue
            if form is Form.DISCOVERY:
                if group == "apidiscovery.k8s.io" and version in ("v2", "v2beta1"):
                    return Wanted(form, version, media)
            elif group in ("meta.k8s.io", "") and version in ("v1", "v1beta1", ""):
                return Wanted(form, version or "v1", media)
    raise _acceptable(accept, allowed)
