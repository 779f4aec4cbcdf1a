"""Rules for one container, of any of the three sorts (pkg/apis/core/validation, validateContainerCommon)."""

from __future__ import annotations

from collections.abc import Mapping

from argosy.kinds import resources
from argosy.kinds.volume_validation import (
    validate_field_reference,
    validate_local_path,
    validate_no_backsteps,
    validate_resource_reference,
)
from argosy.objects import names
from argosy.objects.status import FieldError, duplicate, field_not_found, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
MAX_ID = (1 << 31) - 1
ID_MESSAGE = f"must be between 0 and {MAX_ID}, inclusive"


def _validate_ports(ports: list[JsonObject], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where, name = f"{path}[{index}]", port.get("name", "")
        if name:
            complaints = names.check_port_name(name)
            errors += [invalid_value(f"{where}.name", name, text) for text in complaints]
            if not complaints and name in seen:
                errors.append(duplicate(f"{where}.name", name))
            seen.add(name)
        number, host_port = port.get("containerPort"), port.get("hostPort")
        if not number:
            errors.append(required(f"{where}.containerPort"))
        else:
            errors += [invalid_value(f"{where}.containerPort", number, text) for text in names.check_port(number)]
        if host_port:
            errors += [invalid_value(f"{where}.hostPort", host_port, text) for text in names.check_port(host_port)]
        protocol = port.get("protocol", "")
        if not protocol:
            errors.append(required(f"{where}.protocol"))
        elif protocol not in PROTOCOLS:
            errors.append(not_supported(f"{where}.protocol", protocol, PROTOCOLS))
    return errors


def _validate_key_reference(reference: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    name, key = reference.get("name", ""), reference.get("key", "")
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        errors += [invalid_value(f"{path}.name", name, text) for text in names.check_subdomain(name)]
    if not key:
        errors.append(required(f"{path}.key"))
    else:
        errors += [invalid_value(f"{path}.key", key, text) for text in names.check_config_key(key)]
    return errors


def _validate_env_source(variable: JsonObject, path: str) -> list[FieldError]:
    source = variable["valueFrom"]
    found = [name for name in ENV_SOURCES if source.get(name) is not None]
    errors: list[FieldError] = []
    for name in found:
        reference, where = source[name], f"{path}.{name}"
        if name == "fieldRef":
            errors += validate_field_reference(reference, ENV_FIELDS, where)
        elif name == "resourceFieldRef":
            errors += validate_resource_reference(reference, where, in_volume=False)
        elif name in ("configMapKeyRef", "secretKeyRef"):
            errors += _validate_key_reference(reference, where)
        else:
            errors.append(not_supported(where, name, ENV_SOURCES[:4]))
    if not found:
        detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        errors.append(invalid_value(path, "", detail))
    elif variable.get("value"):
        errors.append(invalid_value(path, "", "may not be specified when `value` is not empty"))
    elif len(found) > 1:
        errors.append(invalid_value(path, "", "may not have more than one field specified at a time"))
    return errors


def _validate_env(container: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, variable in enumerate(container.get("env") or ()):
        where, name = f"{path}.env[{index}]", variable.get("name", "")
        if not name:
            errors.append(required(f"{where}.name"))
        else:
            errors += [invalid_value(f"{where}.name", name, text) for text in names.check_env_name(name)]
        if variable.get("valueFrom") is not None:
            errors += _validate_env_source(variable, f"{where}.valueFrom")
    for index, source in enumerate(container.get("envFrom") or ()):
        where, prefix = f"{path}.envFrom[{index}]", source.get("prefix", "")
        if prefix:
            errors += [invalid_value(f"{where}.prefix", prefix, text) for text in names.check_env_name(prefix)]
        found = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
        for name in found:
            if not source[name].get("name"):
                errors.append(required(f"{where}.{name}.name"))
        if not found:
            detail = "must specify one of: `configMapRef` or `secretRef`"
            errors.append(invalid_value(f"{path}.envFrom", "", detail))
        elif len(found) > 1:
            detail = "may not have more than one field specified at a time"
            errors.append(invalid_value(f"{path}.envFrom", "", detail))
    return errors


def _validate_mounts(container: JsonObject, volumes: Mapping[str, JsonObject], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        where, name, point = f"{path}.volumeMounts[{index}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(required(f"{where}.name"))
        if name not in volumes:
            errors.append(field_not_found(f"{where}.name", name))
        if not point:
            errors.append(required(f"{where}.mountPath"))
        if point in seen:
            errors.append(invalid_value(f"{where}.mountPath", point, "must be unique"))
        seen.add(point)
        inner, expression = mount.get("subPath", ""), mount.get("subPathExpr", "")
        if inner:
            errors += validate_local_path(inner, f"{path}.volumeMounts.subPath")
        if expression:
            if inner:
                detail = "subPathExpr and subPath are mutually exclusive"
                errors.append(invalid_value(f"{where}.subPathExpr", expression, detail))
            errors += validate_local_path(expression, f"{path}.volumeMounts.subPathExpr")
    for index, device in enumerate(container.get("volumeDevices") or ()):
        where, name, point = f"{path}.volumeDevices[{index}]", device.get("name", ""), device.get("devicePath", "")
        if not name:
            errors.append(required(f"{where}.name"))
        volume = volumes.get(name)
        if volume is None:
            errors.append(field_not_found(f"{where}.name", name))
        elif "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(invalid_value(f"{where}.name", name, detail))
        if not point:
            errors.append(required(f"{where}.devicePath"))
        elif validate_no_backsteps(point, ""):
            errors.append(invalid_value(f"{where}.devicePath", point, "can not contain backsteps ('..')"))
    return errors


def validate_ids(context: JsonObject, fields: tuple[str, ...], path: str) -> list[FieldError]:
    return [
        invalid_value(f"{path}.{field}", context[field], ID_MESSAGE)
        for field in fields
        if isinstance(context.get(field), int) and not 0 <= context[field] <= MAX_ID
    ]


def validate_seccomp(profile: JsonObject | None, path: str) -> list[FieldError]:
    if profile is None:
        return []
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    kinds = ("Localhost", "RuntimeDefault", "Unconfined")
    errors: list[FieldError] = []
    if not kind:
        errors.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in kinds:
        errors.append(not_supported(f"{path}.type", kind, kinds))
    if kind == "Localhost":
        if local is None:
            errors.append(required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost"))
        else:
            errors += validate_local_path(local, f"{path}.localhostProfile")
    elif local is not None:
        detail = "can only be set when seccomp type is Localhost"
        errors.append(invalid_value(f"{path}.localhostProfile", profile, detail))
    return errors


def _validate_security(context: JsonObject | None, path: str) -> list[FieldError]:
    if context is None:
        return []
    errors = validate_ids(context, ("runAsUser", "runAsGroup"), path)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(invalid_value(path, context, detail))
        added = (context.get("capabilities") or {}).get("add") or ()
        if "CAP_SYS_ADMIN" in added:
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid_value(path, context, detail))
    proc = context.get("procMount")
    if proc is not None and proc not in ("Default", "Unmasked"):
        errors.append(not_supported(f"{path}.procMount", proc, ["Default", "Unmasked"]))
    return errors + validate_seccomp(context.get("seccompProfile"), f"{path}.seccompProfile")


def validate_container(container: JsonObject, volumes: Mapping[str, JsonObject], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    name = container.get("name", "")
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        errors += [invalid_value(f"{path}.name", name, text) for text in names.check_label(name)]
    if not container.get("image"):
        errors.append(required(f"{path}.image"))
    message = container.get("terminationMessagePolicy", "")
    if message not in MESSAGE_POLICIES:
        errors.append(not_supported(f"{path}.terminationMessagePolicy", message, MESSAGE_POLICIES))
    errors += _validate_ports(container.get("ports") or [], f"{path}.ports")
    errors += _validate_env(container, path) + _validate_mounts(container, volumes, path)
    pull = container.get("imagePullPolicy", "")
    if not pull:
        errors.append(required(f"{path}.imagePullPolicy"))
    elif pull not in PULL_POLICIES:
        errors.append(not_supported(f"{path}.imagePullPolicy", pull, PULL_POLICIES))
    errors += resources.validate_requirements(container.get("resources"), f"{path}.resources")
    return errors + _validate_security(container.get("securityContext"), f"{path}.securityContext")
