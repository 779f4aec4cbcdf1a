"""Rules for services (pkg/apis/core/validation, ValidateService and ValidateServiceUpdate)."""

from __future__ import annotations

from argosy.objects import names
from argosy.objects.status import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MAX_AFFINITY_TIMEOUT_S = 86400
NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


def _headless(spec: JsonObject) -> bool:
    return spec.get("clusterIP") == "None"


def _validate_port(port: JsonObject, path: str, only: bool, names_seen: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    name = port.get("name", "")
    if not name:
        if not only:
            errors.append(required(f"{path}.name"))
    else:
        errors += [invalid_value(f"{path}.name", name, text) for text in names.check_label(name)]
        if name in names_seen:
            errors.append(duplicate(f"{path}.name", name))
        names_seen.add(name)
    number = port.get("port")
    errors += [invalid_value(f"{path}.port", number, text) for text in names.check_port(number)]
    protocol = port.get("protocol", "")
    if not protocol:
        errors.append(required(f"{path}.protocol"))
    elif protocol not in PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    target = port.get("targetPort")
    if isinstance(target, int):
        errors += [invalid_value(f"{path}.targetPort", target, text) for text in names.check_port(target)]
    elif isinstance(target, str):
        errors += [invalid_value(f"{path}.targetPort", target, text) for text in names.check_port_name(target)]
    application = port.get("appProtocol")
    if application is not None:
        errors += [
            invalid_value(f"{path}.appProtocol", application, text)
            for text in names.check_qualified_name(application)
        ]
    return errors


def _validate_ports(spec: JsonObject) -> list[FieldError]:
    ports = spec.get("ports") or []
    kind = spec.get("type")
    if not ports and not _headless(spec) and kind != "ExternalName":
        return [required("spec.ports")]
    errors: list[FieldError] = []
    names_seen: set[str] = set()
    pairs: set[tuple[object, object]] = set()
    node_ports: set[tuple[object, object]] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        errors += _validate_port(port, path, len(ports) == 1, names_seen)
        pair = (port.get("protocol"), port.get("port"))
        if pair in pairs:
            errors.append(duplicate(path, {"port": port.get("port"), "protocol": port.get("protocol")}))
        pairs.add(pair)
        node_port = port.get("nodePort")
        if node_port:
            if kind not in NODE_PORT_TYPES:
                detail = f"may not be used when `type` is '{kind}'"
                errors.append(forbidden_field(f"{path}.nodePort", detail))
            elif (port.get("protocol"), node_port) in node_ports:
                errors.append(duplicate(f"{path}.nodePort", node_port))
            node_ports.add((port.get("protocol"), node_port))
    return errors


def _validate_addresses(spec: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    kind, cluster_ip, cluster_ips = spec.get("type"), spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if kind == "ExternalName":
        if cluster_ip:
            errors.append(forbidden_field("spec.clusterIP", "may not be set for ExternalName services"))
        if cluster_ips:
            errors.append(forbidden_field("spec.clusterIPs", "may not be set for ExternalName services"))
        return errors
    if cluster_ip == "None" and kind in NODE_PORT_TYPES:
        errors.append(invalid_value("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if cluster_ips and cluster_ip and cluster_ips[0] != cluster_ip:
        errors.append(invalid_value("spec.clusterIPs", cluster_ips, "first value must match `clusterIP`"))
    for index, address in enumerate(cluster_ips or ([cluster_ip] if cluster_ip else [])):
        path = f"spec.clusterIPs[{index}]"
        if address == "None" and index == 0:
            continue
        errors += [invalid_value(path, address, text) for text in names.check_ip(address)]
    for index, address in enumerate(spec.get("externalIPs") or ()):
        path = f"spec.externalIPs[{index}]"
        complaints = names.check_ip(address)
        errors += [invalid_value(path, address, text) for text in complaints]
        if not complaints and (address.startswith("127.") or address in ("0.0.0.0", "::", "::1")):  # noqa: S104
            errors.append(invalid_value(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    return errors


def _validate_affinity(spec: JsonObject) -> list[FieldError]:
    affinity = spec.get("sessionAffinity", "")
    if affinity not in ("ClientIP", "None"):
        return [not_supported("spec.sessionAffinity", affinity, ["ClientIP", "None"])]
    if affinity == "None":
        if spec.get("sessionAffinityConfig") is not None:
            detail = "must not be set when session affinity is None"
            return [forbidden_field("spec.sessionAffinityConfig", detail)]
        return []
    path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
    timeout = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if not isinstance(timeout, int):
        return [required(path)]
    if not 0 < timeout <= MAX_AFFINITY_TIMEOUT_S:
        detail = f"must be greater than 0 and less than {MAX_AFFINITY_TIMEOUT_S}"
        return [invalid_value(path, timeout, detail)]
    return []


def _validate_policies(spec: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    kind = spec.get("type")
    external = spec.get("externalTrafficPolicy")
    exposed = kind in NODE_PORT_TYPES or (kind == "ClusterIP" and bool(spec.get("externalIPs")))
    if external:
        if not exposed:
            detail = "may only be set for externally-accessible services"
            errors.append(invalid_value("spec.externalTrafficPolicy", external, detail))
        elif external not in ("Cluster", "Local"):
            errors.append(not_supported("spec.externalTrafficPolicy", external, ["Cluster", "Local"]))
    internal = spec.get("internalTrafficPolicy")
    if internal is not None and internal not in ("Cluster", "Local"):
        errors.append(not_supported("spec.internalTrafficPolicy", internal, ["Cluster", "Local"]))
    if kind != "LoadBalancer":
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(field) is not None:
                errors.append(forbidden_field(f"spec.{field}", "may only be used when `type` is 'LoadBalancer'"))
    for index, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        path = f"spec.loadBalancerSourceRanges[{index}]"
        errors += [invalid_value(path, cidr, text) for text in names.check_cidr(str(cidr).strip())]
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    spec = obj.get("spec") or {}
    errors: list[FieldError] = []
    kind = spec.get("type", "")
    if not kind:
        errors.append(required("spec.type"))
    elif kind not in TYPES:
        errors.append(not_supported("spec.type", kind, TYPES))
    errors += _validate_ports(spec) + _validate_addresses(spec) + _validate_affinity(spec) + _validate_policies(spec)
    if kind == "ExternalName":
        name = str(spec.get("externalName", "")).removesuffix(".")
        if not name:
            errors.append(required("spec.externalName"))
        else:
            errors += [invalid_value("spec.externalName", name, text) for text in names.check_subdomain(name)]
    for key, value in sorted((spec.get("selector") or {}).items()):
        errors += [invalid_value("spec.selector", key, text) for text in names.check_qualified_name(key)]
        errors += [invalid_value("spec.selector", value, text) for text in names.check_label_value(value)]
    return errors


def validate_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """The primary cluster IP stays while the service has one."""
    new_spec, old_spec = new.get("spec") or {}, old.get("spec") or {}
    errors: list[FieldError] = []
    if "ExternalName" in (new_spec.get("type"), old_spec.get("type")):
        return errors
    old_ips, new_ips = old_spec.get("clusterIPs") or [], new_spec.get("clusterIPs") or []
    if old_ips and (not new_ips or new_ips[0] != old_ips[0]):
        errors.append(invalid_value("spec.clusterIPs[0]", new_ips[:1], "may not change once set"))
    elif old_spec.get("clusterIP") and new_spec.get("clusterIP") != old_spec["clusterIP"]:
        errors.append(invalid_value("spec.clusterIP", new_spec.get("clusterIP"), "field is immutable"))
    if old_spec.get("ipFamilies") and (new_spec.get("ipFamilies") or [None])[0] != old_spec["ipFamilies"][0]:
        detail = "may not change once set"
        errors.append(invalid_value("spec.ipFamilies[0]", new_spec.get("ipFamilies"), detail))
    classes = (old_spec.get("loadBalancerClass"), new_spec.get("loadBalancerClass"))
    if old_spec.get("type") == new_spec.get("type") == "LoadBalancer" and classes[0] != classes[1]:
        errors.append(invalid_value("spec.loadBalancerClass", classes[1], "may not change once set"))
    return errors
