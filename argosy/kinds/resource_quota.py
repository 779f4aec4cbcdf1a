"""ResourceQuota: how much a namespace may use in all."""

from __future__ import annotations

from collections.abc import Sequence

from argosy.kinds import columns, resources
from argosy.kinds.kind import AGE_COLUMN, Kind, drop_status, keep_status, status_subresource
from argosy.objects import names
from argosy.objects.status import FieldError, invalid_value, required
from argosy.objects.types import JsonObject

SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
)
STANDARD = (
    resources.STANDARD
    | resources.STANDARD_COUNTED
    | {
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.storage",
    }
)
"""Names without a domain; `requests.` and `hugepages-` come with further ones."""
OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


def default(obj: JsonObject) -> None:
    for part, field in (("spec", "hard"), ("status", "hard"), ("status", "used")):
        if isinstance(obj.get(part), dict):
            resources.canonicalise(obj[part].get(field))


def _validate_amounts(amounts: JsonObject | None, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, text in sorted((amounts or {}).items()):
        where = f"{path}[{name}]"
        errors += [invalid_value(where, name, complaint) for complaint in names.check_qualified_name(name)]
        if "/" not in name and name not in STANDARD and not name.startswith(("requests.", "hugepages-")):
            errors.append(invalid_value(where, name, "must be a standard resource for quota"))
        errors += resources.validate_quantity(name, text, where)
    return errors


def _validate_scopes(spec: JsonObject) -> list[FieldError]:
    scopes = spec.get("scopes") or []
    errors: list[FieldError] = []
    for index, scope in enumerate(scopes):
        if scope not in SCOPES:
            errors.append(invalid_value(f"spec.scopes[{index}]", scope, "unsupported scope"))
    errors += _validate_held(spec, scopes, "spec.scopes")
    expressions = (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    for index, wanted in enumerate(expressions):
        errors += _validate_expression(wanted, f"spec.scopeSelector.matchExpressions[{index}]")
    selected = [wanted.get("scopeName") for wanted in expressions]
    return errors + _validate_held(spec, selected, "spec.scopeSelector.matchExpressions")


def _validate_held(spec: JsonObject, scopes: Sequence[object], path: str) -> list[FieldError]:
    """What scopes say together, and of the resources that can be counted within them."""
    errors: list[FieldError] = []
    for one, other in (("Terminating", "NotTerminating"), ("BestEffort", "NotBestEffort")):
        if one in scopes and other in scopes:
            errors.append(invalid_value(path, list(scopes), "conflicting scopes"))
    for name in sorted(spec.get("hard") or {}):
        pods = name == "pods" or name in ("cpu", "memory") or name.startswith(("requests.", "limits."))
        storage = "storageclass.storage.k8s.io/" in name or name == "requests.storage"
        fits = name == "pods" if "BestEffort" in scopes else pods and not storage
        if any(scope in SCOPES for scope in scopes) and not fits and "/" not in name:
            errors.append(invalid_value(path, list(scopes), "unsupported scope applied to resource"))
            break
    return errors


def _validate_expression(wanted: JsonObject, path: str) -> list[FieldError]:
    scope, operator, values = wanted.get("scopeName"), wanted.get("operator"), wanted.get("values") or []
    errors: list[FieldError] = []
    if not scope:
        errors.append(required(f"{path}.scopeName"))
    elif scope not in SCOPES:
        errors.append(invalid_value(f"{path}.scopeName", scope, "unsupported scope"))
    if operator not in OPERATORS:
        errors.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    elif scope in SCOPES and scope != "PriorityClass" and operator != "Exists":
        detail = (
            "must be 'Exist' only operator when scope is any of ResourceQuotaScopeTerminating, "
            "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort and "
            "ResourceQuotaScopeCrossNamespacePodAffinity"
        )
        errors.append(invalid_value(f"{path}.operator", operator, detail))
    if operator in ("In", "NotIn") and not values:
        detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        errors.append(required(f"{path}.values", detail))
    if operator in ("Exists", "DoesNotExist") and values:
        detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        errors.append(invalid_value(f"{path}.values", values, detail))
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    errors = _validate_amounts(spec.get("hard"), "spec.hard") + _validate_scopes(spec)
    errors += _validate_amounts(status.get("hard"), "status.hard")
    return errors + _validate_amounts(status.get("used"), "status.used")


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    scopes = (new.get("spec") or {}).get("scopes") or []
    selector, before = ((obj.get("spec") or {}).get("scopeSelector") for obj in (new, old))
    if selector != before:
        return [invalid_value("spec.scopeSelector", selector, "field is immutable")]
    if sorted(scopes) != sorted((old.get("spec") or {}).get("scopes") or []):
        return [invalid_value("spec.scopes", scopes, "field is immutable")]
    return []


def _usage(obj: JsonObject, limits: bool) -> str:
    hard, used = columns.at(obj, "status", "hard"), columns.at(obj, "status", "used")
    parts = []
    for name in sorted(hard if isinstance(hard, dict) else {}):
        if name.startswith("limits.") is limits:
            amount = used.get(name, "0") if isinstance(used, dict) else "0"
            parts.append(f"{name}: {amount}/{columns.text_at(hard, name)}")
    return ", ".join(parts)


RESOURCE_QUOTA = Kind(
    group="",
    version="v1",
    kind="ResourceQuota",
    plural="resourcequotas",
    singular="resourcequota",
    namespaced=True,
    short_names=("quota",),
    subresources=(status_subresource("", "v1", "ResourceQuota"),),
    default=default,
    validate=validate,
    validate_update=validate_update,
    prepare_create=drop_status,
    prepare_update=keep_status,
    columns=(
        columns.computed("Request", lambda obj: _usage(obj, limits=False), description="Used of what is allowed."),
        columns.computed("Limit", lambda obj: _usage(obj, limits=True), description="The same for limits."),
        AGE_COLUMN,
    ),
    delete_returns_object=True,
)
