"""Rules for where a pod may go: affinity, topology spread, tolerations (pkg/apis/core/validation)."""

from __future__ import annotations

from argosy.kinds.label_rules import validate_selector
from argosy.objects import names
from argosy.objects.status import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
NODE_POLICIES = ("Honor", "Ignore")


def validate_key(key: str, path: str) -> list[FieldError]:
    return [invalid_value(path, key, text) for text in names.check_qualified_name(key)]


def _validate_node_expression(item: JsonObject, path: str, check_values: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    operator, values = item.get("operator", ""), item.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden_field(f"{path}.values", detail))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            errors.append(
                required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
            )
    else:
        errors.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    errors += validate_key(item.get("key", ""), f"{path}.key")
    if check_values:
        for index, value in enumerate(values):
            errors += [
                invalid_value(f"{path}.values[{index}]", value, text) for text in names.check_label_value(value)
            ]
    return errors


def _validate_node_field(item: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    operator, values, key = item.get("operator", ""), item.get("values") or [], item.get("key", "")
    if operator not in ("In", "NotIn"):
        errors.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(required(f"{path}.values", detail))
    if key != "metadata.name":
        errors.append(invalid_value(f"{path}.key", key, "not a valid field selector key"))
    else:
        for index, value in enumerate(values):
            errors += [invalid_value(f"{path}.values[{index}]", value, text) for text in names.check_subdomain(value)]
    return errors


def _validate_node_term(term: JsonObject, path: str, check_values: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, item in enumerate(term.get("matchExpressions") or ()):
        errors += _validate_node_expression(item, f"{path}.matchExpressions[{index}]", check_values)
    for index, item in enumerate(term.get("matchFields") or ()):
        errors += _validate_node_field(item, f"{path}.matchFields[{index}]")
    return errors


def validate_node_selector(selector: JsonObject, path: str) -> list[FieldError]:
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    return [
        error
        for index, term in enumerate(terms)
        for error in _validate_node_term(term, f"{path}.nodeSelectorTerms[{index}]", check_values=True)
    ]


def _validate_weight(weight: object, path: str) -> list[FieldError]:
    if isinstance(weight, int) and 1 <= weight <= 100:
        return []
    return [invalid_value(f"{path}.weight", weight, "must be in the range 1-100")]


def _validate_node_affinity(affinity: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if affinity.get(REQUIRED) is not None:
        errors += validate_node_selector(affinity[REQUIRED], f"{path}.{REQUIRED}")
    for index, term in enumerate(affinity.get(PREFERRED) or ()):
        where = f"{path}.{PREFERRED}[{index}]"
        errors += _validate_weight(term.get("weight"), where)
        errors += _validate_node_term(term.get("preference") or {}, f"{where}.preference", check_values=False)
    return errors


def _validate_pod_term(term: JsonObject, path: str) -> list[FieldError]:
    errors = validate_selector(term.get("labelSelector"), f"{path}.labelSelector")
    errors += validate_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        errors += [invalid_value(f"{path}.namespace", name, text) for text in names.check_label(name)]
    key = term.get("topologyKey", "")
    if not key:
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    return errors + validate_key(key, f"{path}.topologyKey")


def _validate_pod_affinity(affinity: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, term in enumerate(affinity.get(REQUIRED) or ()):
        errors += _validate_pod_term(term, f"{path}.{REQUIRED}[{index}]")
    for index, term in enumerate(affinity.get(PREFERRED) or ()):
        where = f"{path}.{PREFERRED}[{index}]"
        errors += _validate_weight(term.get("weight"), where)
        errors += _validate_pod_term(term.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm")
    return errors


def validate_affinity(affinity: JsonObject | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if affinity is None:
        return errors
    if affinity.get("nodeAffinity") is not None:
        errors += _validate_node_affinity(affinity["nodeAffinity"], f"{path}.nodeAffinity")
    for name in ("podAffinity", "podAntiAffinity"):
        if affinity.get(name) is not None:
            errors += _validate_pod_affinity(affinity[name], f"{path}.{name}")
    return errors


def validate_spread(constraints: list[JsonObject], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(constraints):
        where = f"{path}[{index}]"
        skew, key, action = item.get("maxSkew", 0), item.get("topologyKey", ""), item.get("whenUnsatisfiable", "")
        if skew <= 0:
            errors.append(invalid_value(f"{where}.maxSkew", skew, "must be greater than zero"))
        if not key:
            errors.append(required(f"{where}.topologyKey", "can not be empty"))
        else:
            errors += validate_key(key, f"{where}.topologyKey")
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            values = ["DoNotSchedule", "ScheduleAnyway"]
            errors.append(not_supported(f"{where}.whenUnsatisfiable", action, values))
        if (key, action) in seen:
            errors.append(duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        seen.add((key, action))
        domains = item.get("minDomains")
        if domains is not None:
            if domains <= 0:
                errors.append(invalid_value(f"{where}.minDomains", domains, "must be greater than 0"))
            if action != "DoNotSchedule":
                detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                errors.append(invalid_value(f"{where}.minDomains", domains, detail))
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if item.get(field) is not None and item[field] not in NODE_POLICIES:
                errors.append(not_supported(f"{where}.{field}", item[field], NODE_POLICIES))
        errors += validate_selector(item.get("labelSelector"), f"{where}.labelSelector")
    return errors


def validate_tolerations(tolerations: list[JsonObject], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, item in enumerate(tolerations):
        where = f"{path}[{index}]"
        key, operator, value, effect = (item.get(name) or "" for name in ("key", "operator", "value", "effect"))
        if key:
            errors += validate_key(key, f"{where}.key")
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid_value(f"{where}.operator", operator, detail))
        if item.get("tolerationSeconds") is not None and effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid_value(f"{where}.effect", effect, detail))
        if operator in ("Equal", ""):
            complaints = names.check_label_value(value)
            if complaints:
                errors.append(invalid_value(f"{where}.operator", value, ";".join(complaints)))
        elif operator == "Exists":
            if value:
                detail = "value must be empty when `operator` is 'Exists'"
                errors.append(invalid_value(f"{where}.operator", value, detail))
        else:
            errors.append(not_supported(f"{where}.operator", operator, ["Equal", "Exists"]))
        if effect and effect not in EFFECTS:
            errors.append(not_supported(f"{where}.effect", effect, EFFECTS))
    return errors
