"""CEL rules of a schema (x-kubernetes-validations): compiled once, and what their authors did wrong.

Each rule is compiled twice: against the schema's types, which finds what upstream's compiler finds, and untyped,
which is evaluated. Upstream: apiextensions-apiserver `pkg/apiserver/schema/cel/compilation.go`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from argosy.objects import status as errors
from argosy.objects.status import FieldError
from argosy.objects.types import JsonObject
from control_plane.apiserver.cel.environment import CelError, Environment, Expression
from control_plane.apiserver.crd.rule_types import Types
from control_plane.apiserver.crd.structure import Node

_STRINGS: Final = re.compile(r"[rRbB]*(\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|\"(\\.|[^\"\\\n])*\"|'(\\.|[^'\\\n])*')")
_OLD_SELF: Final = re.compile(r"(?<![\w.])oldSelf\b")
_PATH_STEP: Final = re.compile(r"\.(?P<name>[A-Za-z_][\w-]*(?:\\.[\w-]*)*)|\['(?P<key>(?:\\.|[^'\\])+)'\]")
OLD_LIST: Final = "argosy_old"
"""The old value in a list, or an empty list: what an optional oldSelf is made of."""
_OPTIONAL: Final = (
    f"cel.bind(oldSelf, size({OLD_LIST}) == 0 ? optional.none() : optional.of({OLD_LIST}[0]), (\n{{}}\n))"
)


@dataclass(slots=True)
class Rule:
    given: JsonObject
    expression: Expression
    uses_old: bool
    optional_old: bool
    message: Expression | None
    path: str
    """What fieldPath adds to the path of the value: `.spec.x`, or nothing."""

    @property
    def text(self) -> str:
        return str(self.given.get("rule", "")).strip()


def uses_old_self(text: str) -> bool:
    return _OLD_SELF.search(_STRINGS.sub('""', text)) is not None


@cache
def _untyped() -> Environment:
    return Environment({"self": "dyn", "oldSelf": "dyn", OLD_LIST: "list(dyn)"})


def compile_rules(node: Node) -> tuple[Rule, ...]:
    """The rules of one node for evaluation; the definition was checked before. Raises CelError."""
    return tuple(_rule(given, _untyped()) for given in node.rules if str(given.get("rule") or "").strip())


def _rule(given: JsonObject, environment: Environment) -> Rule:
    text = str(given.get("rule") or "").strip()
    optional = given.get("optionalOldSelf") is True
    expression = environment.compile(_OPTIONAL.format(text) if optional else text)
    written = str(given.get("messageExpression") or "").strip()
    message = environment.compile(_OPTIONAL.format(written) if optional else written) if written else None
    return Rule(given, expression, uses_old_self(text), optional, message, normal_path(given.get("fieldPath")) or "")


def normal_path(text: object) -> str | None:
    """A fieldPath as it is shown; None for one that is malformed."""
    if not isinstance(text, str) or not text.strip():
        return ""
    at, result = 0, ""
    text = text.strip()
    while at < len(text):
        match = _PATH_STEP.match(text, at)
        if match is None:
            return None
        result += f".{match['name'] if match['name'] is not None else match['key']}"
        at = match.end()
    return result


def path_leads_somewhere(node: Node, text: str) -> bool:
    """Whether a fieldPath names fields of the schema."""
    at = 0
    here: Node | None = node
    while match := _PATH_STEP.match(text, at):
        name = match["name"] if match["name"] is not None else match["key"]
        if here is None:
            return False
        here = here.properties.get(name) or (here.additional if match["name"] is None else None)
        if here is None and name not in ("apiVersion", "kind", "metadata"):
            return False
        at = match.end()
    return at == len(text)


def check_rules(root: Node, path: str) -> list[FieldError]:
    """What is wrong with the expressions of a sound schema."""
    types = Types()
    found = list(_with_rules(root, path, "", True))
    named = [types.type_of(node, resource) for node, _, _, resource in found]
    types.close()
    failures: list[FieldError] = []
    for (node, where, uncorrelated, _), type_ in zip(found, named, strict=True):
        environment = Environment({"self": type_, "oldSelf": type_, OLD_LIST: f"list({type_})"}, types.pool)
        for index, given in enumerate(node.rules):
            failures += _check(given, environment, f"{where}.x-kubernetes-validations[{index}]", uncorrelated)
    return failures


def _with_rules(node: Node, path: str, uncorrelated: str, resource: bool) -> Iterator[tuple[Node, str, str, bool]]:
    """(node, path, path of the nearest level whose children have no old value, whether it is a resource)."""
    if not node.has_rules:
        return
    if node.rules:
        yield node, path, uncorrelated, resource or node.embedded
    below = uncorrelated or (path if node.atomic else "")
    for name, child in node.properties.items():
        yield from _with_rules(child, f"{path}.properties[{name}]", below, False)
    if node.additional is not None:
        yield from _with_rules(node.additional, f"{path}.additionalProperties", below, False)
    if node.items is not None:
        listed = uncorrelated or ("" if node.list_type == "map" else path)
        yield from _with_rules(node.items, f"{path}.items", listed, False)


def _check(given: JsonObject, environment: Environment, path: str, uncorrelated: str) -> list[FieldError]:
    failures: list[FieldError] = []
    optional = given.get("optionalOldSelf") is True
    text = str(given.get("rule") or "").strip()
    detail = _fault(environment, text, optional, "BOOL", "cel expression must evaluate to a bool")
    if detail:
        failures.append(errors.invalid_value(f"{path}.rule", given, detail))
    written = str(given.get("messageExpression") or "").strip()
    if written:
        wanted = "messageExpression must evaluate to a string"
        detail = _fault(environment, written, optional, "STRING", wanted, "messageExpression ")
        if detail:
            failures.append(errors.invalid_value(f"{path}.messageExpression", given, detail))
    if uses_old_self(text):
        if uncorrelated:
            detail = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
            failures.append(errors.invalid_value(f"{path}.rule", given.get("rule"), detail))
    elif given.get("optionalOldSelf") is not None:
        detail = "may not be set if oldSelf is not used in rule"
        failures.append(errors.invalid_value(f"{path}.optionalOldSelf", given["optionalOldSelf"], detail))
    return failures


def _fault(environment: Environment, text: str, optional: bool, wanted: str, otherwise: str, what: str = "") -> str:
    """Why an expression cannot be used; empty when it can."""
    if optional:
        # Its own faults first: those of the wrapping would show places that nobody wrote.
        text = _OPTIONAL.format(text)
    try:
        expression = environment.compile(text)
    except CelError as error:
        return f"{what}compilation failed: {error}"
    return "" if expression.type in (wanted, "DYN") else otherwise
