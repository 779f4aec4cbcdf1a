"""APIService: a group and version of the API, and who serves it: this server, or another behind a Service.

Rules: k8s.io/kube-aggregator `pkg/apis/apiregistration/validation` and `pkg/registry/apiservice`.
"""

from __future__ import annotations

from typing import Final

from argosy.kinds import client_config, columns
from argosy.kinds.kind import AGE_COLUMN, Kind, drop_status, keep_status, status_subresource
from argosy.objects import conditions, meta, names
from argosy.objects.status import FieldError, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

AVAILABLE: Final = "Available"
LOCAL_REASON: Final = "Local"
LOCAL_MESSAGE: Final = "Local APIServices are always available"
MAX_GROUP_PRIORITY: Final = 20_000
MAX_VERSION_PRIORITY: Final = 1_000
STATUSES: Final = ("True", "False", "Unknown")


def default(obj: JsonObject) -> None:
    service = meta.spec(obj).get("service")
    if service is not None and service.get("port") is None:
        service["port"] = client_config.PORT


def prepare_create(obj: JsonObject) -> None:
    """What is served here is available at once."""
    drop_status(obj)
    if meta.spec(obj).get("service") is None:
        obj["status"] = {"conditions": [local_condition(str(meta.metadata(obj).get("creationTimestamp") or ""))]}


def local_condition(time: str) -> JsonObject:
    return conditions.make(AVAILABLE, True, time, LOCAL_REASON, LOCAL_MESSAGE)


def validate(obj: JsonObject) -> list[FieldError]:
    spec = meta.spec(obj)
    group, version = spec.get("group") or "", spec.get("version") or ""
    failures: list[FieldError] = []
    wanted = f"{version}.{group}"
    if meta.name(obj) != wanted:
        detail = f'must be `spec.version+"."+spec.group`: "{wanted}"'
        failures.append(invalid_value("metadata.name", meta.name(obj), detail))
    if not group and version != "v1":
        failures.append(required("spec.group", "only v1 may have an empty group and it better be legacy kube"))
    if group:
        failures += [invalid_value("spec.group", group, text) for text in names.check_subdomain(group)]
    failures += [invalid_value("spec.version", version, text) for text in names.check_label_1035(version)]
    priority = spec.get("groupPriorityMinimum") or 0
    if not 0 < priority <= MAX_GROUP_PRIORITY:
        failures.append(invalid_value("spec.groupPriorityMinimum", priority, "must be positive and less than 20000"))
    priority = spec.get("versionPriority") or 0
    if not 0 < priority <= MAX_VERSION_PRIORITY:
        failures.append(invalid_value("spec.versionPriority", priority, "must be positive and less than 1000"))
    return failures + _validate_service(spec)


def _validate_service(spec: JsonObject) -> list[FieldError]:
    service, bundle, insecure = spec.get("service"), spec.get("caBundle"), bool(spec.get("insecureSkipTLSVerify"))
    path = "spec.insecureSkipTLSVerify"
    failures: list[FieldError] = []
    if service is None:
        if bundle:
            shown = f"{len(bundle) * 3 // 4} bytes"
            failures.append(invalid_value("spec.caBundle", shown, "local APIServices may not have a caBundle"))
        if insecure:
            detail = "local APIServices may not have insecureSkipTLSVerify"
            failures.append(invalid_value(path, insecure, detail))
        return failures
    failures += [required(f"spec.service.{key}") for key in ("namespace", "name") if not service.get(key)]
    port = service.get("port", client_config.PORT)
    if complaints := names.check_port(port):
        failures.append(invalid_value("spec.service.port", port, "port is not valid: " + ", ".join(complaints)))
    if insecure and bundle:
        failures.append(invalid_value(path, insecure, "may not be true if caBundle is present"))
    return failures + client_config.validate_bundle(bundle, "spec.caBundle")


def validate_status_update(new: JsonObject, _old: JsonObject) -> list[FieldError]:
    return [
        not_supported(f"status.conditions[{index}].status", condition.get("status"), STATUSES)
        for index, condition in enumerate(meta.status(new).get("conditions") or ())
        if condition.get("status") not in STATUSES
    ]


def _service(obj: JsonObject) -> str:
    service = meta.spec(obj).get("service")
    return "Local" if service is None else f"{service.get('namespace')}/{service.get('name')}"


def _available(obj: JsonObject) -> str:
    condition = conditions.get(obj, AVAILABLE)
    if condition is None:
        return "Unknown"
    status = str(condition.get("status"))
    return status if status == "True" else f"{status} ({condition.get('reason', '')})"


API_SERVICE = Kind(
    group="apiregistration.k8s.io",
    version="v1",
    kind="APIService",
    plural="apiservices",
    singular="apiservice",
    namespaced=False,
    categories=("api-extensions",),
    subresources=(status_subresource("apiregistration.k8s.io", "v1", "APIService"),),
    default=default,
    validate=validate,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    prepare_update=keep_status,
    name_is_path_segment=True,
    columns=(
        columns.computed("Service", _service, description="Who serves the group and version."),
        columns.computed("Available", _available, description="Whether it answers."),
        AGE_COLUMN,
    ),
)
