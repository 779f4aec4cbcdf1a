"""MutatingWebhookConfiguration and ValidatingWebhookConfiguration: which webhooks are asked about which requests.

Rules: k8s.io/kubernetes `pkg/apis/admissionregistration/{v1/defaults.go,validation/validation.go}`. Match conditions
are compiled by an admission plug-in of the API server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from argosy.kinds import client_config, columns, label_rules
from argosy.kinds.kind import AGE_COLUMN, Kind
from argosy.objects import names
from argosy.objects.status import FieldError, duplicate, invalid_value, not_supported, required, too_many
from argosy.objects.types import JsonObject

GROUP: Final = "admissionregistration.k8s.io"
MUTATING: Final = "mutatingwebhookconfigurations"
VALIDATING: Final = "validatingwebhookconfigurations"
FAILURE_POLICIES: Final = ("Fail", "Ignore")
MATCH_POLICIES: Final = ("Equivalent", "Exact")
NO_SIDE_EFFECTS: Final = ("None", "NoneOnDryRun")
SIDE_EFFECTS: Final = (*NO_SIDE_EFFECTS, "Some", "Unknown")
REINVOCATION: Final = ("IfNeeded", "Never")
OPERATIONS: Final = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES: Final = ("*", "Cluster", "Namespaced")
REVIEW_VERSIONS: Final = ("v1", "v1beta1")
MAX_CONDITIONS: Final = 64


def _default(obj: JsonObject, *, mutating: bool) -> None:
    for hook in obj.get("webhooks") or ():
        for key, value in (("failurePolicy", "Fail"), ("matchPolicy", "Equivalent"), ("timeoutSeconds", 10)):
            if hook.get(key) is None:
                hook[key] = value
        for key in ("namespaceSelector", "objectSelector"):
            if hook.get(key) is None:
                hook[key] = {}
        if mutating and hook.get("reinvocationPolicy") is None:
            hook["reinvocationPolicy"] = "Never"
        for rule in hook.get("rules") or ():
            if rule.get("scope") is None:
                rule["scope"] = "*"
        client_config.default(hook.get("clientConfig") or {})


def default_mutating(obj: JsonObject) -> None:
    _default(obj, mutating=True)


def default_validating(obj: JsonObject) -> None:
    _default(obj, mutating=False)


def validate(obj: JsonObject) -> list[FieldError]:
    """What holds of every configuration, new or not."""
    failures: list[FieldError] = []
    seen: set[str] = set()
    for index, hook in enumerate(obj.get("webhooks") or ()):
        path = f"webhooks[{index}]"
        failures += _validate_hook(hook, path)
        name = hook.get("name") or ""
        if name in seen:
            failures.append(duplicate(f"{path}.name", name))
        if name:
            seen.add(name)
    return failures


def _validate_hook(hook: JsonObject, path: str) -> list[FieldError]:
    failures = _validate_name(hook.get("name") or "", f"{path}.name")
    for index, rule in enumerate(hook.get("rules") or ()):
        failures += _validate_rule(rule, f"{path}.rules[{index}]")
    for key, known in (
        ("failurePolicy", FAILURE_POLICIES),
        ("matchPolicy", MATCH_POLICIES),
        ("reinvocationPolicy", REINVOCATION),
        ("sideEffects", NO_SIDE_EFFECTS),
    ):
        value = hook.get(key)
        if value is not None and value not in known:
            failures.append(not_supported(f"{path}.{key}", value, known))
    if hook.get("sideEffects") is None:
        failures.append(required(f"{path}.sideEffects", f"must specify one of {', '.join(NO_SIDE_EFFECTS)}"))
    timeout = hook.get("timeoutSeconds")
    if timeout is not None and not 1 <= timeout <= 30:
        detail = "the timeout value must be between 1 and 30 seconds"
        failures.append(invalid_value(f"{path}.timeoutSeconds", timeout, detail))
    for key in ("namespaceSelector", "objectSelector"):
        failures += label_rules.validate_selector(hook.get(key), f"{path}.{key}")
    failures += client_config.validate(hook.get("clientConfig") or {}, f"{path}.clientConfig")
    failures += _validate_conditions(hook.get("matchConditions") or [], f"{path}.matchConditions")
    return failures + _validate_versions(hook.get("admissionReviewVersions") or [], f"{path}.admissionReviewVersions")


def _validate_name(name: str, path: str) -> list[FieldError]:
    if not name:
        return [required(path)]
    failures = [invalid_value(path, name, text) for text in names.check_subdomain(name)]
    if not failures and name.count(".") < 2:
        detail = "should be a domain with at least three segments separated by dots"
        failures.append(invalid_value(path, name, detail))
    return failures


def _validate_rule(rule: JsonObject, path: str) -> list[FieldError]:
    failures: list[FieldError] = []
    operations = rule.get("operations") or []
    failures += _validate_words(operations, f"{path}.operations", "operations")
    for index, operation in enumerate(operations):
        if operation not in OPERATIONS:
            failures.append(not_supported(f"{path}.operations[{index}]", operation, OPERATIONS))
    failures += _validate_words(rule.get("apiGroups") or [], f"{path}.apiGroups", "API groups")
    versions = rule.get("apiVersions") or []
    failures += _validate_words(versions, f"{path}.apiVersions", "API versions")
    failures += [required(f"{path}.apiVersions[{i}]") for i, version in enumerate(versions) if not version]
    failures += _validate_resources(rule.get("resources") or [], f"{path}.resources")
    scope = rule.get("scope")
    if scope is not None and scope not in SCOPES:
        failures.append(not_supported(f"{path}.scope", scope, SCOPES))
    return failures


def _validate_words(words: Sequence[str], path: str, what: str) -> list[FieldError]:
    if not words:
        return [required(path)]
    if len(words) > 1 and "*" in words:
        return [invalid_value(path, list(words), f"if '*' is present, must not specify other {what}")]
    return []


def _validate_resources(resources: Sequence[str], path: str) -> list[FieldError]:
    failures: list[FieldError] = [] if resources else [required(path)]
    all_of: set[str] = set()
    any_with: set[str] = set()
    bare = False
    for index, text in enumerate(resources):
        if not text:
            failures.append(required(f"{path}[{index}]"))
            continue
        resource, slash, sub = text.partition("/")
        if not slash:
            bare = bare or text != "*"
            continue
        at = f"{path}[{index}]"
        if resource in all_of:
            failures.append(invalid_value(at, text, f"if '{resource}/*' is present, must not specify {text}"))
        if sub in any_with:
            failures.append(invalid_value(at, text, f"if '*/{sub}' is present, must not specify {text}"))
        if sub == "*":
            all_of.add(resource)
        if resource == "*":
            any_with.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        detail = "if '*/*' is present, must not specify other resources"
        failures.append(invalid_value(path, list(resources), detail))
    if "*" in resources and bare:
        detail = "if '*' is present, must not specify other resources without subresources"
        failures.append(invalid_value(path, list(resources), detail))
    return failures


def _validate_conditions(conditions: Sequence[JsonObject], path: str) -> list[FieldError]:
    failures: list[FieldError] = []
    if len(conditions) > MAX_CONDITIONS:
        failures.append(too_many(path, len(conditions), MAX_CONDITIONS))
    seen: set[str] = set()
    for index, condition in enumerate(conditions[:MAX_CONDITIONS]):
        name = condition.get("name") or ""
        if not name:
            failures.append(required(f"{path}[{index}].name"))
        failures += [
            invalid_value(f"{path}[{index}].name", name, text) for text in names.check_qualified_name(name) if name
        ]
        if name in seen:
            failures.append(duplicate(f"{path}[{index}].name", name))
        seen.add(name)
        if not str(condition.get("expression") or "").strip():
            failures.append(required(f"{path}[{index}].expression"))
    return failures


def _validate_versions(versions: Sequence[Any], path: str) -> list[FieldError]:
    known = ", ".join(REVIEW_VERSIONS)
    if not versions:
        return [required(path, f"must specify one of {known}")]
    failures: list[FieldError] = []
    for index, version in enumerate(versions):
        if version in versions[:index]:
            failures.append(invalid_value(f"{path}[{index}]", version, "duplicate version"))
            continue
        failures += [invalid_value(f"{path}[{index}]", version, text) for text in names.check_label_1035(version)]
    if not any(version in REVIEW_VERSIONS for version in versions):
        failures.append(invalid_value(path, list(versions), f"must include at least one of {known}"))
    return failures


_COLUMNS: Final = (
    columns.computed(
        "Webhooks", lambda obj: len(obj.get("webhooks") or ()), kind="integer", description="How many there are."
    ),
    AGE_COLUMN,
)

MUTATING_WEBHOOK_CONFIGURATION = Kind(
    group=GROUP,
    version="v1",
    kind="MutatingWebhookConfiguration",
    plural=MUTATING,
    singular="mutatingwebhookconfiguration",
    namespaced=False,
    categories=("api-extensions",),
    default=default_mutating,
    validate=validate,
    has_generation=True,
    columns=_COLUMNS,
)
VALIDATING_WEBHOOK_CONFIGURATION = Kind(
    group=GROUP,
    version="v1",
    kind="ValidatingWebhookConfiguration",
    plural=VALIDATING,
    singular="validatingwebhookconfiguration",
    namespaced=False,
    categories=("api-extensions",),
    default=default_validating,
    validate=validate,
    has_generation=True,
    columns=_COLUMNS,
)
