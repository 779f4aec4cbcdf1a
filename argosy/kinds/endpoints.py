"""Endpoints: the addresses behind a service, in the old form that one object holds them all."""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Kind
from argosy.objects import names
from argosy.objects.status import FieldError, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

SHOWN = 3
PROTOCOLS = ("SCTP", "TCP", "UDP")


def default(obj: JsonObject) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def _validate_port(port: JsonObject, path: str, name_needed: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    name, number, protocol = port.get("name", ""), port.get("port"), port.get("protocol", "")
    if name:
        errors += [invalid_value(f"{path}.name", name, text) for text in names.check_label(name)]
    elif name_needed:
        errors.append(required(f"{path}.name"))
    errors += [invalid_value(f"{path}.port", number, text) for text in names.check_port(number)]
    if protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    return errors


def validate_address(address: object, path: str) -> list[FieldError]:
    """An address that traffic may be sent to: no loopback, link-local or multicast."""
    errors = [invalid_value(path, address, text) for text in names.check_ip(address)]
    if errors:
        return errors
    import ipaddress

    parsed = ipaddress.ip_address(str(address))
    if parsed.is_unspecified:
        detail = f"may not be unspecified ({address})"
    elif parsed.is_loopback:
        detail = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    elif parsed.is_link_local:
        detail = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
    elif parsed.is_multicast and (str(parsed).startswith("224.0.0.") or str(parsed).startswith("ff02:")):
        detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
    else:
        return []
    return [invalid_value(path, address, detail)]


def validate(obj: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{index}]"
        ready, waiting = subset.get("addresses") or [], subset.get("notReadyAddresses") or []
        if not ready and not waiting:
            errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for field, addresses in (("addresses", ready), ("notReadyAddresses", waiting)):
            for place, address in enumerate(addresses):
                errors += validate_address(address.get("ip"), f"{path}.{field}[{place}].ip")
        ports = subset.get("ports") or []
        for place, port in enumerate(ports):
            errors += _validate_port(port, f"{path}.ports[{place}]", len(ports) > 1)
    return errors


def join_host_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _shown(obj: JsonObject) -> str:
    subsets = obj.get("subsets") or ()
    if not subsets:
        return columns.NONE
    found: list[str] = []
    for subset in subsets:
        addresses = [str(item.get("ip", "")) for item in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if ports:
            found += [join_host_port(address, port.get("port", 0)) for port in ports for address in addresses]
        else:
            found += addresses
    return columns.cut(found, SHOWN) if found else ""


ENDPOINTS = Kind(
    group="",
    version="v1",
    kind="Endpoints",
    plural="endpoints",
    singular="endpoints",
    namespaced=True,
    short_names=("ep",),
    default=default,
    validate=validate,
    allow_create_on_update=True,
    columns=(
        columns.computed("Endpoints", _shown, description="The first addresses, with their ports."),
        AGE_COLUMN,
    ),
)
