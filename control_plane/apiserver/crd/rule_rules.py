"""The form of CEL rules in a schema: texts, messages, reasons, paths; `rules` compiles the expressions."""

from __future__ import annotations

import re
from typing import Final

from argosy.objects.status import FieldError, invalid_value, not_supported, required
from argosy.objects.types import JsonObject
from control_plane.apiserver.crd.rules import path_leads_somewhere
from control_plane.apiserver.crd.structure import parse

VALIDATIONS: Final = "x-kubernetes-validations"
REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
MAX_RULES: Final = 1000
"""Of one level; upstream bounds them by their cost."""
_LINES: Final = re.compile(r"[\n\r]")


def rule_forms(schema: JsonObject, path: str) -> list[FieldError]:
    """Of one level."""
    given = schema.get(VALIDATIONS)
    if not given:
        return []
    if not isinstance(given, list) or len(given) > MAX_RULES:
        return [invalid_value(f"{path}.{VALIDATIONS}", len(given), f"at most {MAX_RULES} rules are supported")]
    found: list[FieldError] = []
    for index, rule in enumerate(given):
        found += _form(rule, schema, f"{path}.{VALIDATIONS}[{index}]")
    return found


def _form(rule: JsonObject, schema: JsonObject, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    text = str(rule.get("rule") or "").strip()
    message, trimmed = str(rule.get("message") or ""), str(rule.get("message") or "").strip()
    if not text:
        found.append(required(f"{path}.rule", "rule is not specified"))
    elif message and not trimmed:
        found.append(invalid_value(f"{path}.message", message, "must be non-empty if specified"))
    elif _LINES.search(trimmed):
        found.append(invalid_value(f"{path}.message", message, "must not contain line breaks"))
    elif _LINES.search(text) and not trimmed:
        found.append(required(f"{path}.message", "message must be specified if rule contains line breaks"))
    expression = str(rule.get("messageExpression") or "")
    if expression and not expression.strip():
        found.append(required(f"{path}.messageExpression", "messageExpression must be non-empty if specified"))
    reason = rule.get("reason")
    if reason is not None and reason not in REASONS:
        found.append(not_supported(f"{path}.reason", reason, REASONS))
    where = str(rule.get("fieldPath") or "")
    if where and not where.strip():
        found.append(invalid_value(f"{path}.fieldPath", where, "must be non-empty if specified"))
    if _LINES.search(where):
        found.append(invalid_value(f"{path}.fieldPath", where, "must not contain line breaks"))
    elif where.strip() and not path_leads_somewhere(parse(schema), where.strip()):
        found.append(invalid_value(f"{path}.fieldPath", where, "must be a valid path"))
    return found
