"""A container's environment: literal values with $(VAR), ConfigMaps, Secrets, fields, resources and services.

Everything that must be fetched comes in as look-up functions, so that it is testable without a cluster; used when a
container is made (upstream pkg/kubelet `makeEnvironmentVariables`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.fields import FieldError, field_value, resource_value

CONFIG_MAP = "configmaps"
SECRET = "secrets"  # noqa: S105  # a resource's name
RUNTIME_CLASS = "runtimeclasses"

Lookup = Callable[[str, str, str], Awaitable[JsonObject | None]]
"""(CONFIG_MAP, SECRET or RUNTIME_CLASS, namespace, name); None when there is no such object. Raises ApiError."""


class ConfigError(Exception):
    """A container cannot be configured: the pod waits with CreateContainerConfigError and this message."""


@dataclass(frozen=True)
class Surroundings:
    """What a container may learn of the pod's place."""

    pod_ips: Sequence[str]
    host_ips: Sequence[str]
    allocatable: Mapping[str, str]
    services: Sequence[JsonObject]
    """Of the pod's namespace, and default/kubernetes."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value; an unknown name stays as it is, $$ is a dollar sign."""
    parts: list[str] = []
    at = 0
    while True:
        dollar = text.find("$", at)
        if dollar < 0 or dollar + 1 >= len(text):
            return "".join(parts) + text[at:]
        parts.append(text[at:dollar])
        following = text[dollar + 1]
        if following == "$":
            parts.append("$")
            at = dollar + 2
        elif following == "(" and (end := text.find(")", dollar)) > 0:
            name = text[dollar + 2 : end]
            parts.append(values.get(name, f"$({name})"))
            at = end + 1
        else:
            parts.append("$")
            at = dollar + 1


def data_of(obj: JsonObject, secret: bool) -> dict[str, bytes]:
    """Keys and contents of a ConfigMap or Secret. Raises ConfigError on broken base64."""
    try:
        result: dict[str, bytes] = {}
        if secret:
            for key, value in (obj.get("data") or {}).items():
                result[key] = base64.b64decode(value, validate=True)
            return result
        for key, value in (obj.get("data") or {}).items():
            result[key] = str(value).encode()
        for key, value in (obj.get("binaryData") or {}).items():
            result[key] = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ConfigError(f"{meta.key(obj)}: {error}") from None
    return result


def service_variables(services: Iterable[JsonObject]) -> dict[str, str]:
    """Docker-link style variables of services with a cluster IP."""
    result: dict[str, str] = {}
    for service in services:
        spec = meta.spec(service)
        ip = str(spec.get("clusterIP") or "")
        ports = spec.get("ports") or []
        if ip in ("", "None") or not ports:
            continue
        prefix = meta.name(service).upper().replace("-", "_")
        shown_ip = f"[{ip}]" if ":" in ip else ip
        result[f"{prefix}_SERVICE_HOST"] = ip
        result[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                result[f"{prefix}_SERVICE_PORT_{str(port['name']).upper().replace('-', '_')}"] = str(port["port"])
        for index, port in enumerate(ports):
            protocol = str(port.get("protocol") or "TCP")
            url = f"{protocol.lower()}://{shown_ip}:{port['port']}"
            if index == 0:
                result[f"{prefix}_PORT"] = url
            link = f"{prefix}_PORT_{port['port']}_{protocol.upper()}"
            result[link] = url
            result[f"{link}_PROTO"] = protocol.lower()
            result[f"{link}_PORT"] = str(port["port"])
            result[f"{link}_ADDR"] = ip
    return result


async def environment(
    pod: JsonObject, container: JsonObject, around: Surroundings, lookup: Lookup
) -> list[tuple[str, str]]:
    """The variables in order. Raises ConfigError, and ApiError when a look-up fails."""
    linked = meta.spec(pod).get("enableServiceLinks", True)
    visible = [
        service
        for service in around.services
        if meta.key(service) == "default/kubernetes" or (linked and meta.namespace(service) == meta.namespace(pod))
    ]
    services = service_variables(visible)
    values: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        values.update(await _from_source(pod, source, lookup))
    for variable in container.get("env") or []:
        value = await _value(pod, container, variable, around, lookup, {**services, **values})
        if value is not None:
            values[variable["name"]] = value
    for name, value in services.items():
        values.setdefault(name, value)
    return list(values.items())


def _valid_name(name: str) -> bool:
    return bool(name) and "=" not in name and all(" " <= char <= "~" for char in name)


async def _from_source(pod: JsonObject, source: JsonObject, lookup: Lookup) -> dict[str, str]:
    prefix = str(source.get("prefix") or "")
    for field, kind, label in (("configMapRef", CONFIG_MAP, "configmap"), ("secretRef", SECRET, "secret")):
        reference = source.get(field)
        if reference is None:
            continue
        found = await lookup(kind, meta.namespace(pod), reference["name"])
        if found is None:
            if reference.get("optional"):
                return {}
            raise ConfigError(f'{label} "{reference["name"]}" not found')
        content = data_of(found, kind == SECRET)
        return {
            prefix + key: value.decode("utf-8", "surrogateescape")
            for key, value in content.items()
            if _valid_name(prefix + key)
        }
    raise ConfigError(f"envFrom source is not supported: {', '.join(sorted(source)) or 'empty'}")


async def _value(
    pod: JsonObject,
    container: JsonObject,
    variable: JsonObject,
    around: Surroundings,
    lookup: Lookup,
    known: Mapping[str, str],
) -> str | None:
    """None when an optional key is missing."""
    source = variable.get("valueFrom")
    if not source:
        return expand(str(variable.get("value") or ""), known)
    try:
        if "fieldRef" in source:
            return field_value(pod, source["fieldRef"]["fieldPath"], around.pod_ips, around.host_ips)
        if "resourceFieldRef" in source:
            return resource_value(pod, source["resourceFieldRef"], container["name"], around.allocatable)
    except FieldError as error:
        raise ConfigError(str(error)) from None
    for field, kind, label in (("configMapKeyRef", CONFIG_MAP, "ConfigMap"), ("secretKeyRef", SECRET, "Secret")):
        if field in source:
            return await _key(pod, source[field], kind, label, lookup)
    raise ConfigError(f"env valueFrom is not supported: {', '.join(sorted(source))}")


async def _key(pod: JsonObject, reference: JsonObject, kind: str, label: str, lookup: Lookup) -> str | None:
    name, key = reference["name"], reference["key"]
    optional = bool(reference.get("optional"))
    found = await lookup(kind, meta.namespace(pod), name)
    if found is None:
        if optional:
            return None
        raise ConfigError(f'{label.lower()} "{name}" not found')
    content = data_of(found, kind == SECRET).get(key)
    if content is None:
        if optional:
            return None
        raise ConfigError(f"couldn't find key {key} in {label} {meta.namespace(pod)}/{name}")
    return content.decode("utf-8", "surrogateescape")
