"""Label selectors: their text form (`?labelSelector=`), the LabelSelector object, and matching.

The API server, the caches and every controller use it. Rules: k8s.io/apimachinery `pkg/labels` and
`pkg/apis/meta/v1/helpers.go`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from argosy.objects import names
from argosy.objects.types import JsonObject

MAX_TEXT_CHARS = 64 << 10


class SelectorError(ValueError):
    """The selector cannot be understood; the message says where."""


class Operator(Enum):
    EXISTS = "exists"
    NOT_EXISTS = "!"
    EQUALS = "="
    NOT_EQUALS = "!="
    IN = "in"
    NOT_IN = "notin"
    GREATER = ">"
    LESS = "<"


@dataclass(frozen=True)
class Requirement:
    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.EXISTS:
                return value is not None
            case Operator.NOT_EXISTS:
                return value is None
            case Operator.EQUALS | Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_EQUALS | Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.GREATER | Operator.LESS:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        try:
            actual, bound = int(value), int(next(iter(self.values)))
        except ValueError:
            return False
        return actual > bound if self.operator is Operator.GREATER else actual < bound

    def __str__(self) -> str:
        values = ",".join(sorted(self.values))
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.NOT_EXISTS:
                return f"!{self.key}"
            case Operator.IN | Operator.NOT_IN:
                return f"{self.key} {self.operator.value} ({values})"
            case _:
                return f"{self.key}{self.operator.value}{values}"


@dataclass(frozen=True)
class Selector:
    """All requirements hold. Without any it matches everything, unless `nothing`."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    _exact: tuple[tuple[str, str], ...] | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if all(item.operator is Operator.EQUALS for item in self.requirements):
            pairs = tuple((item.key, next(iter(item.values))) for item in self.requirements)
            object.__setattr__(self, "_exact", pairs)

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.nothing:
            return False
        if self._exact is not None:
            get = labels.get
            return all(get(key) == value for key, value in self._exact)
        return all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def everything(self) -> bool:
        return not self.requirements and not self.nothing

    @property
    def exact(self) -> tuple[tuple[str, str], ...] | None:
        """The labels asked for, when the selector is equalities only: what an index can serve."""
        return None if self.nothing else self._exact

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)

_TOKEN = re.compile(r"\s*(?:(==|!=|=|!|>|<|\(|\)|,)|([^\s=!<>(),]+))")


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    position, stripped = 0, text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise SelectorError(f"found '{stripped[position:]}', expected: !, identifier, or 'end of string'")
        tokens.append(match[1] or match[2])
        position = match.end()
    return tokens


_SYMBOLS = frozenset({"==", "!=", "=", "!", ">", "<", "(", ")", ","})
_EQUALITY = {"=": Operator.EQUALS, "==": Operator.EQUALS, "!=": Operator.NOT_EQUALS}
_ORDER = {">": Operator.GREATER, "<": Operator.LESS}
_SETS = {"in": Operator.IN, "notin": Operator.NOT_IN}


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def parse(self) -> list[Requirement]:
        result: list[Requirement] = []
        while self._peek():
            if self._peek() != "!" and self._peek() in _SYMBOLS:
                raise SelectorError(f"found '{self._peek()}', expected: !, identifier, or 'end of string'")
            try:
                result.append(self._requirement())
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            separator = self._next()
            if not separator:
                break
            if separator != ",":
                raise SelectorError(f"found '{separator}', expected: ',' or 'end of string'")
            following = self._peek()
            if following != "!" and (not following or following in _SYMBOLS):
                raise SelectorError(f"found '{following}', expected: identifier after ','")
        return result

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!"
        if negated:
            self._next()
        key = self._next()
        if not key or key in _SYMBOLS:
            raise SelectorError(f"found '{key}', expected: identifier")
        _check_key(key)
        if negated:
            return Requirement(key, Operator.NOT_EXISTS)
        token = self._peek()
        if token in ("", ","):
            return Requirement(key, Operator.EXISTS)
        self._next()
        if token in _EQUALITY:
            return Requirement(key, _EQUALITY[token], frozenset({_check_value(key, self._single())}))
        if token in _ORDER:
            return Requirement(key, _ORDER[token], frozenset({_check_integer(self._single())}))
        if token in _SETS:
            return Requirement(key, _SETS[token], self._set(key))
        raise SelectorError(f"found '{token}', expected: in, notin, =, ==, !=, gt, lt")

    def _single(self) -> str:
        token = self._peek()
        if token in ("", ","):
            return ""
        if token in _SYMBOLS:
            raise SelectorError(f"found '{token}', expected: identifier")
        return self._next()

    def _set(self, key: str) -> frozenset[str]:
        opening = self._next()
        if opening != "(":
            raise SelectorError(f"found '{opening}' expected: '('")
        values: set[str] = set()
        expect_value = True
        while True:
            part = self._next()
            if part == ")":
                if expect_value:
                    values.add("")
                return frozenset(_check_value(key, value) for value in values)
            if part == ",":
                if expect_value:
                    values.add("")
                expect_value = True
            elif part and part not in _SYMBOLS and expect_value:
                values.add(part)
                expect_value = False
            else:
                raise SelectorError(f"found '{part}', expected: ',', ')' or identifier")


def _check_key(key: str) -> None:
    complaints = names.check_qualified_name(key)
    if complaints:
        raise SelectorError(f'key: Invalid value: "{key}": {"; ".join(complaints)}')


def _check_value(key: str, value: str) -> str:
    complaints = names.check_label_value(value)
    if complaints:
        raise SelectorError(f'values[0][{key}]: Invalid value: "{value}": {"; ".join(complaints)}')
    return value


def _check_integer(value: str) -> str:
    try:
        int(value)
    except ValueError:
        raise SelectorError(
            f"values[0]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
        ) from None
    return value


def parse(text: str) -> Selector:
    """The selector of `?labelSelector=` text; empty text selects everything. Raises SelectorError."""
    if len(text) > MAX_TEXT_CHARS:
        raise SelectorError("label selector is too long")
    if not text.strip():
        return EVERYTHING
    return Selector(tuple(sorted(_Parser(text).parse(), key=lambda item: item.key)))


_OPERATORS = {
    "In": Operator.IN,
    "NotIn": Operator.NOT_IN,
    "Exists": Operator.EXISTS,
    "DoesNotExist": Operator.NOT_EXISTS,
}


def from_labels(labels: Mapping[str, str] | None) -> Selector:
    """A plain map, as in a Service's selector: every pair must be there; an empty one matches everything."""
    pairs = sorted((labels or {}).items())
    return Selector(tuple(Requirement(key, Operator.EQUALS, frozenset({value})) for key, value in pairs))


def from_object(selector: JsonObject | None) -> Selector:
    """A LabelSelector: None matches nothing, an empty one everything. Raises SelectorError on a bad operator."""
    if selector is None:
        return NOTHING
    requirements = list(from_labels(selector.get("matchLabels")).requirements)
    for expression in selector.get("matchExpressions") or ():
        operator = _OPERATORS.get(expression.get("operator"))
        if operator is None:
            raise SelectorError(f'"{expression.get("operator")}" is not a valid label selector operator')
        values = frozenset(expression.get("values") or ())
        if bool(values) != (operator in (Operator.IN, Operator.NOT_IN)):
            raise SelectorError(f"values of operator {expression['operator']} are wrong")
        requirements.append(Requirement(str(expression.get("key", "")), operator, values))
    return Selector(tuple(sorted(requirements, key=lambda item: item.key)))
