"""EndpointSlice: up to a thousand of the addresses behind a service."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.endpoints import PROTOCOLS, SHOWN, validate_address
from argosy.kinds.kind import AGE_COLUMN, Kind
from argosy.objects import names
from argosy.objects.status import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_many,
)
from argosy.objects.types import JsonObject

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
MAX_ENDPOINTS = 1000
MAX_ADDRESSES = 100
MAX_PORTS = 20000


def default(obj: JsonObject) -> None:
    for port in obj.get("ports") or ():
        if port.get("name") is None:
            port["name"] = ""
        if not port.get("protocol"):
            port["protocol"] = "TCP"


def _validate_ports(ports: list[JsonObject]) -> list[FieldError]:
    errors: list[FieldError] = []
    if len(ports) > MAX_PORTS:
        errors.append(too_many("ports", len(ports), MAX_PORTS))
    seen: set[str] = set()
    for index, port in enumerate(ports):
        path, name = f"ports[{index}]", port.get("name") or ""
        if name:
            errors += [invalid_value(f"{path}.name", name, text) for text in names.check_label(name)]
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
        number = port.get("port")
        if number is not None:
            errors += [invalid_value(f"{path}.port", number, text) for text in names.check_port(number)]
        if port.get("protocol") not in PROTOCOLS:
            errors.append(not_supported(f"{path}.protocol", port.get("protocol"), PROTOCOLS))
    return errors


def _validate_address(address: str, kind: str, path: str) -> list[FieldError]:
    if kind == "FQDN":
        return [invalid_value(path, address, text) for text in names.check_subdomain(address)]
    errors = validate_address(address, path)
    if not errors and (":" in address) != (kind == "IPv6"):
        errors.append(invalid_value(path, address, f"must be an {kind} address"))
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    kind = obj.get("addressType", "")
    errors: list[FieldError] = []
    if not kind:
        errors.append(required("addressType"))
    elif kind not in ADDRESS_TYPES:
        errors.append(not_supported("addressType", kind, ADDRESS_TYPES))
    endpoints = obj.get("endpoints") or []
    if len(endpoints) > MAX_ENDPOINTS:
        return [*errors, too_many("endpoints", len(endpoints), MAX_ENDPOINTS)]
    for index, endpoint in enumerate(endpoints):
        path, addresses = f"endpoints[{index}].addresses", endpoint.get("addresses") or []
        if not addresses:
            errors.append(required(path, "must contain at least 1 address"))
        elif len(addresses) > MAX_ADDRESSES:
            errors.append(too_many(path, len(addresses), MAX_ADDRESSES))
        for place, address in enumerate(addresses):
            errors += _validate_address(address, kind, f"{path}[{place}]")
    return errors + _validate_ports(obj.get("ports") or [])


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    if new.get("addressType") != old.get("addressType"):
        return [invalid_value("addressType", new.get("addressType"), "field is immutable")]
    return []


def _ports(obj: JsonObject) -> str:
    shown = []
    for port in columns.items_at(obj, "ports"):
        number = port.get("port")
        shown.append(str(number) if number is not None else port.get("name") or "*")
    return columns.cut(shown, SHOWN) if shown else columns.UNSET


def _endpoints(obj: JsonObject) -> str:
    found = [
        str(address) for endpoint in columns.items_at(obj, "endpoints") for address in endpoint.get("addresses") or ()
    ]
    return columns.cut(found, SHOWN) if found else columns.UNSET


ENDPOINT_SLICE = Kind(
    group="discovery.k8s.io",
    version="v1",
    kind="EndpointSlice",
    plural="endpointslices",
    singular="endpointslice",
    namespaced=True,
    default=default,
    validate=validate,
    validate_update=validate_update,
    has_generation=True,
    columns=(
        columns.text("AddressType", "addressType", description="IPv4, IPv6 or FQDN."),
        columns.computed("Ports", _ports, description="The first ports."),
        columns.computed("Endpoints", _endpoints, description="The first addresses."),
        AGE_COLUMN,
    ),
)
