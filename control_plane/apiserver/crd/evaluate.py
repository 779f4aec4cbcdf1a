"""The CEL rules of a schema on an object: which fail, and what is said then.

Transition rules (oldSelf) only hold for what can be found in the old object; other rules' failures on what did not
change are let pass (ratcheting). What rules may cost for one object is bounded: by the values they are given here,
and by the library's bound on loops. Upstream: apiextensions-apiserver `pkg/apiserver/schema/cel/validation.go`.
"""

from __future__ import annotations

from typing import Any, Final

from argosy.objects import status as errors
from argosy.objects.status import CauseType, FieldError
from control_plane.apiserver.cel.environment import CelError
from control_plane.apiserver.crd.rule_types import converted, needs_conversion
from control_plane.apiserver.crd.rules import OLD_LIST, Rule, compile_rules
from control_plane.apiserver.crd.structure import Node, correlated, key_of
from control_plane.apiserver.crd.values import MISSING

BUDGET: Final = 1_000_000
"""Of one object: every evaluation costs `EVALUATION` and each value that it is given one."""
EVALUATION: Final = 20
MAX_MESSAGE_BYTES: Final = 5120
EXHAUSTED: Final = "validation failed due to running out of cost budget, no further validation rules will be run"
_REASONS: Final = {
    "FieldValueInvalid": (CauseType.INVALID, "Invalid value"),
    "FieldValueForbidden": (CauseType.FORBIDDEN, "Forbidden"),
    "FieldValueRequired": (CauseType.REQUIRED, "Required value"),
    "FieldValueDuplicate": (CauseType.DUPLICATE, "Duplicate value"),
}


class Exhausted(Exception):
    """The budget is spent; the failure that says so is in the list."""


class Evaluator:
    """Of one schema; compiles a node's rules when they are first needed."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._compiled: dict[int, tuple[Rule, ...]] = {}
        self._conversions: dict[int, bool] = {}

    def validate(self, new: Any, old: Any = None) -> list[FieldError]:
        """`old` is None for a new object."""
        run = _Run(self)
        try:
            run.walk(new, self._root, "", MISSING if old is None else old, resource=True)
        except Exhausted:
            pass
        return run.failures

    def rules(self, node: Node) -> tuple[Rule, ...]:
        known = self._compiled.get(id(node))
        if known is None:
            known = self._compiled[id(node)] = compile_rules(node)
        return known

    def value(self, value: Any, node: Node, resource: bool) -> Any:
        needed = self._conversions.get(id(node))
        if needed is None:
            needed = self._conversions[id(node)] = needs_conversion(node, resource)
        return converted(value, node, resource) if needed else value


class _Run:
    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._left = BUDGET
        self.failures: list[FieldError] = []

    def walk(self, value: Any, node: Node, path: str, old: Any, *, resource: bool = False) -> None:
        if value is None or not node.has_rules:
            return
        if node.rules:
            self._evaluate(value, node, path, old, resource or node.embedded)
        for each in node.all_of:
            self.walk(value, each, path, old)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for key, item in value.items():
                child = node.properties.get(key) or node.additional
                if child is not None and child.has_rules:
                    self.walk(item, child, f"{path}.{key}" if path else key, before.get(key, MISSING))
        elif isinstance(value, list) and node.items is not None and node.items.has_rules:
            olds = correlated(old, node)
            for index, item in enumerate(value):
                identity = key_of(item, node)
                past = olds.get(identity, MISSING) if identity is not None else MISSING
                self.walk(item, node.items, f"{path}[{index}]", past)

    def _evaluate(self, value: Any, node: Node, path: str, old: Any, resource: bool) -> None:
        had = old is not MISSING and old is not None
        unchanged = had and old == value
        evaluator = self._evaluator
        try:
            rules = evaluator.rules(node)
            now = evaluator.value(value, node, resource)
            past = evaluator.value(old, node, resource) if had else None
        except (CelError, ValueError, OverflowError) as error:
            self.failures.append(
                errors.invalid_value(path, node.type, f"rule compiler initialization error: {error}")
            )
            return
        data: dict[str, Any] = {"self": now, "oldSelf": past, OLD_LIST: [past] if had else []}
        cost = EVALUATION + _size(value)
        for rule in rules:
            if rule.uses_old and not had and not rule.optional_old:
                continue
            self._spend(cost, path, node)
            self._apply(rule, data, value, node, path, unchanged)

    def _spend(self, cost: int, path: str, node: Node) -> None:
        self._left -= cost
        if self._left < 0:
            self.failures.append(errors.invalid_value(path or "<nil>", node.type, EXHAUSTED))
            raise Exhausted

    def _apply(self, rule: Rule, data: dict[str, Any], value: Any, node: Node, path: str, unchanged: bool) -> None:
        try:
            holds = rule.expression.evaluate(data)
        except CelError as error:
            shown = str(rule.given.get("message") or "").strip() or f"failed rule: {rule.text}"
            detail = f"{error} evaluating rule: {shown}"
            if str(error).startswith("no such overload"):
                detail = (
                    f"'{error}': call arguments did not match a supported operator, function or macro signature "
                    f"for rule: {shown}"
                )
            self.failures.append(errors.invalid_value(path or "<nil>", node.type, detail))
            return
        if holds is True or (unchanged and not rule.uses_old):
            return
        where = f"{path}{rule.path}" if path else rule.path.removeprefix(".")
        self.failures.append(_failure(rule, where or "<nil>", value, self._message(rule, data)))

    def _message(self, rule: Rule, data: dict[str, Any]) -> str:
        if rule.message is not None:
            try:
                text = rule.message.evaluate(data)
            except CelError:
                text = None
            if isinstance(text, str):
                text = text.strip()
                if text and "\n" not in text and len(text.encode()) <= MAX_MESSAGE_BYTES:
                    return text
        return str(rule.given.get("message") or "").strip() or f"failed rule: {rule.text}"


def _failure(rule: Rule, path: str, value: Any, detail: str) -> FieldError:
    cause, text = _REASONS.get(str(rule.given.get("reason") or "FieldValueInvalid"), _REASONS["FieldValueInvalid"])
    if cause in (CauseType.INVALID, CauseType.DUPLICATE) and not isinstance(value, dict | list):
        return FieldError(
            cause, path, errors.invalid_value(path, value, detail).message.replace("Invalid value", text)
        )
    return FieldError(cause, path, f"{text}: {detail}")


def _size(value: Any) -> int:
    """How many values there are."""
    if isinstance(value, dict):
        return 1 + sum(_size(item) for item in value.values())
    if isinstance(value, list):
        return 1 + sum(_size(item) for item in value)
    return 1
