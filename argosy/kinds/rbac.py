"""What the four RBAC kinds share: rule, subject and role reference checks, defaults and columns.

Rules: pkg/apis/rbac/validation.
"""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN
from argosy.objects import names
from argosy.objects.status import FieldError, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

GROUP = "rbac.authorization.k8s.io"


def validate_rule(rule: JsonObject, namespaced: bool, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not rule.get("verbs"):
        errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs") or []
    if urls:
        if namespaced:
            detail = "namespaced rules cannot apply to non-resource URLs"
            errors.append(invalid_value(f"{path}.nonResourceURLs", urls, detail))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(invalid_value(f"{path}.nonResourceURLs", urls, detail))
        return errors
    if not rule.get("apiGroups"):
        detail = "resource rules must supply at least one api group"
        errors.append(required(f"{path}.apiGroups", detail))
    if not rule.get("resources"):
        errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors


def _validate_rules(obj: JsonObject, namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, rule in enumerate(obj.get("rules") or ()):
        errors += validate_rule(rule, namespaced, f"rules[{index}]")
    return errors


def validate_role(obj: JsonObject) -> list[FieldError]:
    return _validate_rules(obj, namespaced=True)


def validate_cluster_role(obj: JsonObject) -> list[FieldError]:
    errors = _validate_rules(obj, namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is not None and not aggregation.get("clusterRoleSelectors"):
        detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        errors.append(required("aggregationRule.clusterRoleSelectors", detail))
    return errors


def default_binding(obj: JsonObject) -> None:
    reference = obj.get("roleRef")
    if isinstance(reference, dict) and not reference.get("apiGroup"):
        obj["roleRef"] = {"apiGroup": GROUP, **{k: v for k, v in reference.items() if k != "apiGroup"}}
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = GROUP


def _validate_subject(subject: JsonObject, namespaced: bool, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    kind, name = subject.get("kind", ""), subject.get("name", "")
    if not name:
        errors.append(required(f"{path}.name"))
    group = subject.get("apiGroup", "")
    if kind == "ServiceAccount":
        if name:
            errors += [invalid_value(f"{path}.name", name, text) for text in names.check_subdomain(name)]
        if group:
            errors.append(not_supported(f"{path}.apiGroup", group, [""]))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != GROUP:
            errors.append(not_supported(f"{path}.apiGroup", group, [GROUP]))
    else:
        errors.append(not_supported(f"{path}.kind", kind, ["ServiceAccount", "User", "Group"]))
    return errors


def _validate_binding(obj: JsonObject, role_kinds: list[str], namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    reference = obj.get("roleRef") or {}
    if reference.get("apiGroup") != GROUP:
        errors.append(not_supported("roleRef.apiGroup", reference.get("apiGroup", ""), [GROUP]))
    if reference.get("kind") not in role_kinds:
        errors.append(not_supported("roleRef.kind", reference.get("kind", ""), role_kinds))
    name = reference.get("name", "")
    if not name:
        errors.append(required("roleRef.name"))
    else:
        errors += [invalid_value("roleRef.name", name, text) for text in names.check_path_segment(name)]
    for index, subject in enumerate(obj.get("subjects") or ()):
        errors += _validate_subject(subject, namespaced, f"subjects[{index}]")
    return errors


def validate_role_binding(obj: JsonObject) -> list[FieldError]:
    return _validate_binding(obj, ["Role", "ClusterRole"], namespaced=True)


def validate_cluster_role_binding(obj: JsonObject) -> list[FieldError]:
    return _validate_binding(obj, ["ClusterRole"], namespaced=False)


def validate_binding_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    if new.get("roleRef") != old.get("roleRef"):
        return [invalid_value("roleRef", new.get("roleRef"), "cannot change roleRef")]
    return []


def _role(obj: JsonObject) -> str:
    return f"{columns.text_at(obj, 'roleRef', 'kind')}/{columns.text_at(obj, 'roleRef', 'name')}"


def _subjects(obj: JsonObject, kind: str) -> str:
    found = [item for item in columns.items_at(obj, "subjects") if item.get("kind") == kind]
    if kind == "ServiceAccount":
        return ", ".join(f"{item.get('namespace', '')}/{item.get('name', '')}" for item in found)
    return ", ".join(str(item.get("name", "")) for item in found)


BINDING_COLUMNS = (
    columns.computed("Role", _role, description="The role that is bound."),
    AGE_COLUMN,
    columns.computed("Users", lambda obj: _subjects(obj, "User"), priority=1, description="Users who have it."),
    columns.computed("Groups", lambda obj: _subjects(obj, "Group"), priority=1, description="Groups that have it."),
    columns.computed(
        "ServiceAccounts",
        lambda obj: _subjects(obj, "ServiceAccount"),
        priority=1,
        description="Service accounts that have it.",
    ),
)
