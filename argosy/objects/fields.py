"""Field selectors (`?fieldSelector=`): `=`, `==` and `!=` on the labels that a kind offers.

Rules: k8s.io/apimachinery `pkg/fields`. Values escape `\\`, `,` and `=` by a backslash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from argosy.objects import meta
from argosy.objects.types import JsonObject

FieldGetter = Callable[[JsonObject], str]
MAX_TEXT_CHARS = 64 << 10


class FieldSelectorError(ValueError):
    """The selector is malformed or names a field that the kind does not offer; the message is upstream's."""


@dataclass(frozen=True)
class Term:
    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.field}{'!=' if self.negated else '='}{escape(self.value)}"


@dataclass(frozen=True)
class FieldSelector:
    terms: tuple[Term, ...] = ()

    def exact(self, field: str) -> str | None:
        """The value that `field` must have, when the selector pins it: what an index can serve."""
        for term in self.terms:
            if term.field == field and not term.negated:
                return term.value
        return None

    def matcher(self, getters: Mapping[str, FieldGetter]) -> Callable[[JsonObject], bool]:
        """A test of objects of a kind that offers `getters` (metadata.name and .namespace go without saying).

        Raises FieldSelectorError for a field that it does not offer.
        """
        tests: list[tuple[FieldGetter, str, bool]] = []
        for term in self.terms:
            getter = _COMMON.get(term.field) or getters.get(term.field)
            if getter is None:
                raise FieldSelectorError(f"field label not supported: {term.field}")
            tests.append((getter, term.value, term.negated))
        return lambda obj: all((getter(obj) == value) is not negated for getter, value, negated in tests)

    def __str__(self) -> str:
        return ",".join(str(term) for term in self.terms)


EVERYTHING = FieldSelector()
_COMMON: Mapping[str, FieldGetter] = {"metadata.name": meta.name, "metadata.namespace": meta.namespace}


def escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _unescape(value: str) -> str:
    result: list[str] = []
    escaped = False
    for char in value:
        if escaped:
            if char not in "\\,=":
                raise FieldSelectorError(f"invalid field selector: invalid escape sequence: \\{char}")
            result.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            raise FieldSelectorError(f"invalid field selector: unescaped character in value: {value}")
        else:
            result.append(char)
    if escaped:
        raise FieldSelectorError(f"invalid field selector: invalid escape sequence: {value}")
    return "".join(result)


def _split(text: str) -> list[str]:
    """The terms between unescaped commas."""
    terms: list[str] = []
    start, index = 0, 0
    while index < len(text):
        if text[index] == "\\":
            index += 2
            continue
        if text[index] == ",":
            terms.append(text[start:index])
            start = index + 1
        index += 1
    terms.append(text[start:])
    return terms


def _term(text: str) -> Term:
    for index in range(len(text)):
        for operator in ("!=", "==", "="):
            if text.startswith(operator, index):
                value = _unescape(text[index + len(operator) :])
                return Term(text[:index], value, negated=operator == "!=")
    raise FieldSelectorError(f"invalid selector: '{text}'; can't understand '{text}'")


def parse(text: str) -> FieldSelector:
    """The selector of `?fieldSelector=` text; empty text selects everything. Raises FieldSelectorError."""
    if len(text) > MAX_TEXT_CHARS:
        raise FieldSelectorError("field selector is too long")
    return FieldSelector(tuple(_term(part) for part in _split(text) if part))
